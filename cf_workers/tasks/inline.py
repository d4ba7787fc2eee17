"""How is an agent executed in the caller's own process, without broker, server or worker?

By the code that a worker uses: the same call, the same verdicts, the same waits between attempts, and a
document of the same shape. Only the record is missing: nothing is stored but the answer, where there is a
cache.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentDefinition
from cf_workers.answers import Answer, KnownAnswers, call_for, succeeded
from cf_workers.errors import CfWorkersError, TransientError
from cf_workers.planning import Planned
from cf_workers.resilience.backoff import BackoffPolicy, wait_before
from cf_workers.tasks import asking
from cf_workers.tasks.runtime import Provider
from cf_workers.workflows.documents import execution_document, step_document
from cf_workers.workflows.outcome import Outcome

Wait = Callable[[float, CancelToken], None]
Retrying = Callable[[int, float, CfWorkersError], object]


@dataclass(frozen=True)
class InlinePolicy:
    """How a failed attempt is repeated.

    Args:
        max_retries: further requests after the first, where the plan does not say.
    """

    max_retries: int = 3
    backoff: BackoffPolicy = field(default_factory=BackoffPolicy)


def wait_in_thread(seconds: float, token: CancelToken) -> None:
    """Wait, or return at once when the token is cancelled."""
    cancelled = threading.Event()
    forget = token.on_cancel(cancelled.set)
    try:
        cancelled.wait(seconds)
    finally:
        forget()


def execute_inline(
    planned: Planned,
    task: str,
    *,
    model: Provider,
    token: CancelToken | None = None,
    wait: Wait = wait_in_thread,
    retrying: Retrying = lambda _attempt, _seconds, _error: None,
    known: KnownAnswers | None = None,
    policy: InlinePolicy | None = None,
) -> dict[str, Any]:
    """Execute a planned agent here and now.

    Args:
        planned: a plan of one step.
        wait: waits so many seconds between two attempts.
        retrying: told of each failed attempt that will be repeated: its number, the wait, the error.
        known: answers that need no call, and where a new one is left.

    Returns:
        The document that `cf-workers execute --json` prints, of a failure as well.
    """
    (step,) = planned.plan.steps
    definition = AgentDefinition.model_validate_json(planned.definitions[step.definition])
    call = call_for(definition, step, task=task, outputs=())
    rules, stop = policy or InlinePolicy(), token or CancelToken()
    allowed = rules.max_retries if step.max_retries is None else step.max_retries

    def outcome() -> Outcome:
        if known is not None and (found := known.find(call)):
            return succeeded(found, step, attempts=0)
        attempt = 0
        while True:
            attempt += 1
            try:
                model.warm()
                began = time.monotonic()
                reply = model.ask(call, stop)
            except CfWorkersError as error:
                if not isinstance(error, TransientError) or attempt > allowed:
                    return asking.failed(error, step, attempts=attempt)
                seconds = wait_before(attempt, rules.backoff, error.retry_after)
                retrying(attempt, seconds, error)
                wait(seconds, stop)
            else:
                answer = Answer(reply, time.monotonic() - began)
                kept = answer if known is None else known.keep(call, answer)
                return succeeded(kept, step, attempts=attempt)

    started = time.time()
    ended = outcome()
    state = {"s": ended.status, "st": started, "fin": time.time(), "a": ended.attempts}
    result = step_document(step, state, ended.result, ended.output or None, run_ended=True)
    return execution_document(uuid4().hex, ended.status, result)
