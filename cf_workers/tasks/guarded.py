"""May this call be made now? Admission before it, settlement after it."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall
from cf_workers.agents.estimate import likely_tokens
from cf_workers.agents.models import model_facts
from cf_workers.answers import Answer
from cf_workers.errors import CfWorkersError
from cf_workers.resilience import (
    Ask,
    Ending,
    Guard,
    Permit,
    Refused,
    Scope,
    Transition,
    answered,
    explain,
    failed,
    never_sent,
    refusal_error,
)
from cf_workers.tasks.answering import Answering, Caller, NotNow
from cf_workers.tasks.known_prompts import KnownPrompts, prompt_of

log = logging.getLogger(__name__)

_AFTER_OTHERS_SECONDS = 0.5


class Guarded:
    """Lets calls through as breaker, gate, buckets and window allow, for all workers together.

    Args:
        credential: a digest of the credential that the calls are made with.
        prompts: those that the provider has in its cache are read there free of the limits.
    """

    def __init__(self, inner: Answering, guard: Guard, prompts: KnownPrompts, *, credential: str) -> None:
        self._inner = inner
        self._guard = guard
        self._prompts = prompts
        self._credential = credential
        self._held: set[Permit] = set()
        self._lock = threading.Lock()

    def ask(self, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Answer one call, if it is admitted.

        Raises:
            NotNow: it is not; nothing was sent and no attempt is spent.
            ExecutionError: there is no usable reply.
        """
        permit = self._admit(call, caller)
        with self._holding(permit):
            try:
                answer = self._inner.ask(call, caller, token)
            except CfWorkersError as error:
                ending = failed(error)
                reopened = self._settle(permit, ending)
                if permit.probe and ending.outcome == "fault" and not caller.fail_fast:
                    raise _failed_probe(error, reopened) from None
                raise
            except BaseException:  # it says nothing of the provider; the permit comes back whatever it is
                self._settle(permit, never_sent())
                raise
            usage = answer.reply.usage
            kept = usage.cache_read_input_tokens or usage.cache_creation_input_tokens
            (self._prompts.used if kept else self._prompts.unused)(prompt_of(call))
            self._settle(
                permit,
                answered(
                    input_tokens=usage.input_tokens + usage.cache_creation_input_tokens,
                    output_tokens=usage.output_tokens,
                    rate_limits=answer.reply.rate_limits,
                ),
            )
            return answer

    @contextmanager
    def _holding(self, permit: Permit) -> Iterator[None]:
        with self._lock:
            self._held.add(permit)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(permit)

    def _settle(self, permit: Permit, ending: Ending) -> float:
        """Take in how a call ended; for how many seconds that has opened the breaker."""
        changes = self._guard.settle(permit, ending).changes
        _tell(changes)
        return max([0.0, *(change.until - change.at for change in changes if change.until is not None)])

    def _admit(self, call: AgentCall, caller: Caller) -> Permit:
        scope = Scope(self._credential, model_class(call.model))
        decision = self._guard.admit(
            Ask(
                scope,
                input_tokens=estimate_tokens(call, cached=self._prompts.is_warm(prompt_of(call))),
                tenant=caller.tenant,
                lane=caller.lane,
                waiter=caller.waiter,
            )
        )
        if isinstance(decision, Refused):
            instead = refusal_error(decision) if caller.fail_fast else None
            raise NotNow(explain(decision.reason), decision.retry_in_seconds, instead=instead)
        _tell(decision.changes)
        return decision.permit

    def renew(self) -> None:
        """Keep the calls of this process counted as in flight; for the heartbeat."""
        with self._lock:
            held = list(self._held)
        if held:
            self._guard.renew(held)
        self._guard.report()


def model_class(model: str) -> str:
    """The class whose limits a model shares, as a plain word; an unknown model is a class of its own."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", model_facts(model).limit_class)[:80]


def estimate_tokens(call: AgentCall, *, cached: bool = False) -> int:
    """About how many input tokens a call takes that count against the limits; settled with the true number.

    Args:
        cached: the provider has the agent's definition in its prompt cache.
    """
    definition = () if cached else (call.agent.text, call.agent.contract)
    return likely_tokens(*definition, call.task, *(output.output for output in call.outputs))


def _failed_probe(error: CfWorkersError, reopened_for: float) -> NotNow:
    """The outage is the provider's, and the step that found that it goes on must not pay with an attempt.

    It comes back behind those who wait for the same moment: let another one try.
    """
    wait = reopened_for + _AFTER_OTHERS_SECONDS
    return NotNow(f"the circuit breaker is open: {error.message}", wait, probe=error)


def _tell(changes: Iterable[Transition]) -> None:
    for change in changes:
        log.warning("breaker.%s scope=%s reason=%s", change.after, change.scope, change.reason)
