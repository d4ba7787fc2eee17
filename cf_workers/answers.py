"""What was a call answered, and is that answer known already? Producers and workers must say the same.

Both look under the same key, by the same rules, and make the same outcome of what they find: whether a hit
is given by a worker or by the producer itself can be told from nothing but the time that it took.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from cf_workers._redis import Keys, RedisClient, connect_bounded
from cf_workers.agents.definition import AgentCall, AgentDefinition, AgentReply, DependencyOutput, Usage
from cf_workers.agents.fingerprint import call_parts
from cf_workers.agents.prices import cost_usd
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
from cf_workers.workflows.plan import PlannedStep
from cf_workers.workflows.record import Outcome

NANOS = 1_000_000_000


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
    """

    reply: AgentReply
    seconds: float
    cache_age_seconds: float | None = None
    stale: bool = False
    saved_nanos: int | None = None
    key: str | None = None
    batch: str | None = None

    @property
    def cached(self) -> bool:
        return self.cache_age_seconds is not None


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


def is_cacheable(context: Context, step: PlannedStep) -> bool:
    """The project where this process runs may say no to all, as it is now; then the step's word counts."""
    if context.project_path is None:
        return step.cacheable is not False
    section = context.project.cache
    if not section.enabled or step.cacheable is not None:
        return section.enabled and bool(step.cacheable)
    return step.agent not in section.exclude_agents


def document_of(reply: AgentReply) -> dict[str, Any]:
    """What the cache keeps of a reply."""
    return {
        "output": reply.output,
        "model": reply.model,
        "usage": reply.usage.model_dump(),
        "stop_reason": reply.stop_reason,
        "request_id": reply.request_id,
    }


def keep(cache: Cache, key: str, call: AgentCall, reply: AgentReply, *, workflow: str) -> bool:
    """Keep a reply for those who ask the same later; whether it was kept."""
    if not cacheable_reply(reply.stop_reason, reply.output):
        return False
    cost = cost_usd(reply.model, reply.usage)
    return cache.store(
        key,
        document_of(reply),
        tags={"agent": call.agent.name, "workflow": workflow, "model": call.model},
        cost_nanos=None if cost is None else int(cost * NANOS),
    )


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
    cost = Decimal(0) if answer.cached else cost_usd(reply.model, reply.usage)
    usage = Usage() if answer.cached else reply.usage
    return Outcome(
        status="succeeded",
        attempts=attempts,
        output=reply.output,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        saved_nanos=answer.saved_nanos or 0,
        cost_nanos=None if cost is None else int(cost * NANOS),
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
            "saved_cost": None if answer.saved_nanos is None else answer.saved_nanos / NANOS,
            "estimated_cost": None if cost is None else float(cost),
            "error": None,
        },
    )


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
