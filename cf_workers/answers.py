"""What was a call answered, and is that answer known already? Producers and workers must say the same.

Both look under the same key, by the same rules, and make the same outcome of what they find: whether a hit
is given by a worker or by the producer itself can be told from nothing but the time that it took.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cf_workers._redis import Keys, RedisClient, connect_bounded
from cf_workers.agents.definition import AgentCall, AgentDefinition, AgentReply, DependencyOutput, Usage
from cf_workers.agents.fingerprint import call_parts
from cf_workers.agents.prices import cost_nanos, prompt_cache_saving_nanos
from cf_workers.application import Context
from cf_workers.cache import (
    Cache,
    CachePolicy,
    GivenSecret,
    Hit,
    SecretSource,
    cacheable_reply,
    fingerprint,
    signing_secret,
)
from cf_workers.errors import ConfigError
from cf_workers.money import usd
from cf_workers.planning import Planned
from cf_workers.workflows.outcome import Outcome
from cf_workers.workflows.plan import PlannedStep

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """A reply, and where it came from.

    Args:
        seconds: the call took; 0 for a hit.
        cache_age_seconds: since the reply was stored; `None` for one that was made now.
        stale: the reply is past its time to live, given because no call could be made.
        saved_nanos: what the reply cost when it was made, in billionths of a dollar.
        key: under which the cache keeps it; `None` if it does not.
        batch: the message batch that it came in.
        instead_of: the model that was planned, where a budget chose a cheaper one.
    """

    reply: AgentReply
    seconds: float
    cache_age_seconds: float | None = None
    stale: bool = False
    saved_nanos: int | None = None
    key: str | None = None
    batch: str | None = None
    instead_of: str | None = None

    @property
    def cached(self) -> bool:
        return self.cache_age_seconds is not None


class Entry(NamedTuple):
    """What the cache keeps of an answer.

    Args:
        tags: what it can be found by.
        cost_nanos: what it cost, in billionths of a dollar; `None`: unknown.
    """

    document: dict[str, Any]
    tags: dict[str, str]
    cost_nanos: int | None


class KnownAnswers:
    """The cache for a process that makes a call by itself: it looks first, and leaves its answer to others.

    A server that does not answer is asked once.
    """

    def __init__(self, cache: Cache, *, namespace: str) -> None:
        self._cache = cache
        self._namespace = namespace
        self._away = False

    def find(self, call: AgentCall) -> Answer | None:
        """The answer to a call, if it is there."""
        key = key_of(call, self._namespace)
        found = self._cache.lookup(key, count_miss=False)
        if isinstance(found, Hit):
            return answer_of(found, key)
        self._away = found.reason != "absent"
        return None

    def keep(self, call: AgentCall, answer: Answer) -> Answer:
        """Store the answer to a call that was made; returned with its key if it was kept."""
        if self._away:
            return answer
        key = key_of(call, self._namespace)
        self._cache.count_miss(key)
        kept = keep(self._cache, key, call, answer.reply, workflow="")
        return replace(answer, key=key) if kept else answer


def known_answers(context: Context) -> KnownAnswers | None:
    """The known answers of a context that may have no server; `None` where the cache cannot be used."""
    settings = context.settings
    if not settings.cache_url and not context.redis_url:
        return None
    try:
        cache = open_cache(context, max_connections=1)
    except ConfigError as error:
        log.warning("cache.unusable error=%s", error.message)
        return None
    return KnownAnswers(cache, namespace=settings.answers_namespace)


def open_cache(context: Context, *, max_connections: int = 64) -> Cache:
    """The response cache of a context; nothing is sent before its first use.

    Raises:
        ConfigError: in production no secret is set, and the project does not do without the cache.
    """
    settings = context.settings
    client = connect_bounded(
        settings.cache_url or context.redis_url,
        timeout_seconds=settings.cache.timeout_seconds,
        max_connections=max_connections,
    )
    keys = Keys(settings.namespace)
    policy, secret = _signing(context, client, keys)
    return Cache(client, keys, secret, policy=policy)


def call_for(
    definition: AgentDefinition, step: PlannedStep, *, task: str, outputs: Sequence[DependencyOutput] = ()
) -> AgentCall:
    """The complete request of a step."""
    return AgentCall(
        agent=definition,
        task=task,
        model=step.model,
        max_tokens=step.max_tokens,
        timeout_seconds=step.timeout_seconds,
        outputs=tuple(outputs),
    )


def key_of(call: AgentCall, namespace: str) -> str:
    """Under which key the answer to a call is kept.

    Args:
        namespace: whose answers are shared; `Settings.answers_namespace`.
    """
    return fingerprint(call_parts(call), namespace=namespace)


def execution_key(context: Context, planned: Planned, task: str) -> str | None:
    """Under which key the answer to a planned execution is kept; `None` if it is not."""
    (step,) = planned.plan.steps
    if not is_cacheable(context, step):
        return None
    definition = AgentDefinition.model_validate_json(planned.definitions[step.definition])
    return key_of(call_for(definition, step, task=task), context.settings.answers_namespace)


def is_cacheable(context: Context, step: PlannedStep) -> bool:
    """The project where this process runs may say no to all, as it is now; then the step's word counts."""
    if context.project_path is None:
        return step.cacheable is not False
    section = context.project.cache
    if not section.enabled or step.cacheable is not None:
        return section.enabled and bool(step.cacheable)
    return step.agent not in section.exclude_agents


def is_known(context: Context, cache: Cache, step: PlannedStep, call: AgentCall) -> bool | None:
    """Whether the cache would answer a call of a step; `None` if its answer is not kept."""
    if not cache.policy.enabled or not is_cacheable(context, step):
        return None
    found = cache.inspect(key_of(call, context.settings.answers_namespace))
    return found is not None and not found.stale


def entry_of(call: AgentCall, reply: AgentReply, *, workflow: str) -> Entry | None:
    """What the cache keeps of the answer to a call; `None` if it may answer no other."""
    if not cacheable_reply(reply.stop_reason, reply.output):
        return None
    document = {
        "output": reply.output,
        "model": reply.model,
        "usage": reply.usage.model_dump(),
        "stop_reason": reply.stop_reason,
        "request_id": reply.request_id,
    }
    tags = {"agent": call.agent.name, "workflow": workflow, "model": call.model}
    return Entry(document, tags, cost_nanos(reply.model, reply.usage))


def keep(cache: Cache, key: str, call: AgentCall, reply: AgentReply, *, workflow: str) -> bool:
    """Keep a reply for those who ask the same later; whether it was kept."""
    entry = entry_of(call, reply, workflow=workflow)
    if entry is None:
        return False
    return cache.store(key, entry.document, tags=entry.tags, cost_nanos=entry.cost_nanos)


def answer_of(hit: Hit, key: str) -> Answer:
    """The answer that a hit under this key holds; it cost nothing now."""
    document = hit.document
    reply = AgentReply(
        output=document["output"],
        model=document["model"],
        usage=Usage.model_validate(document["usage"]),
        stop_reason=document["stop_reason"],
        request_id=document["request_id"],
    )
    return Answer(reply, 0.0, hit.age_seconds, stale=hit.stale, saved_nanos=hit.saved_nanos, key=key)


def succeeded(answer: Answer, step: PlannedStep, *, attempts: int) -> Outcome:
    """The outcome of an answered call; one that the cache answered cost nothing and used no tokens."""
    reply = answer.reply
    cost = 0 if answer.cached else cost_nanos(reply.model, reply.usage)
    usage = Usage() if answer.cached else reply.usage
    return Outcome(
        status="succeeded",
        attempts=attempts,
        output=reply.output,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        saved_nanos=answer.saved_nanos or 0,
        asked_model=reply.model if answer.instead_of else step.model,
        cost_nanos=cost,
        result={
            "agent": step.agent,
            "model": reply.model,
            "usage": reply.usage.model_dump(),
            "stop_reason": reply.stop_reason,
            "truncated": reply.truncated,
            "request_id": reply.request_id,
            "execution_time_ms": round(answer.seconds * 1000, 1),
            "cached": answer.cached,
            "cache_age_seconds": answer.cache_age_seconds,
            "stale": answer.stale,
            "cache_key": answer.key,
            "batch": answer.batch,
            "saved_cost": usd(answer.saved_nanos),
            "prompt_cache_saved_cost": _prompt_cache_saved(reply.model, usage),
            "estimated_cost": usd(cost),
            "error": None,
            **({"instead_of": answer.instead_of} if answer.instead_of else {}),
        },
    )


def _prompt_cache_saved(model: str, usage: Usage) -> float | None:
    return usd(prompt_cache_saving_nanos(model, usage))


def _signing(context: Context, client: RedisClient, keys: Keys) -> tuple[CachePolicy, SecretSource]:
    policy = context.settings.cache_policy
    if not policy.enabled:
        return policy, GivenSecret(b"off")
    try:
        return policy, signing_secret(os.environ, client, keys)
    except ConfigError:
        if context.project_path is None or context.project.cache.enabled:
            raise
        return replace(policy, enabled=False), GivenSecret(b"off")
