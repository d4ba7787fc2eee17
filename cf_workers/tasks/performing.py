"""How is one step taken from its message to its commit?

Claim, ask, commit, release - in this order, so that a worker may die between any two of them: before the
commit the step is taken over and asked again, after it only the release is repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn
from uuid import uuid4

import redis
from celery.exceptions import Ignore, Retry
from kombu.exceptions import OperationalError

from cf_workers.agents.cancel import CancelToken
from cf_workers.answers import succeeded
from cf_workers.errors import CancelledError, CfWorkersError, LostError, TransientError
from cf_workers.reliability import Reason, Token, surrender, token_for
from cf_workers.tasks import asking
from cf_workers.tasks.answering import NotNow
from cf_workers.tasks.base import AgentTask
from cf_workers.tasks.runtime import Runtime
from cf_workers.workflows.dead_letters import DeadLetter
from cf_workers.workflows.outcome import Claim, Committed, Outcome, Verdict
from cf_workers.workflows.plan import PlannedStep, RunHeader

log = logging.getLogger(__name__)

_TOO_NEW_SECONDS = 5.0
_SUPERSEDED = "superseded"
_FREE_PROBES = 10
"""A step that fails for reasons of its own must not keep the breaker open for ever by probing."""


@dataclass(frozen=True)
class Performed:
    """What became of a message.

    Args:
        verdict: of the claim; everything but `run`, `skip`, `cancel` and `lost` means that nothing was done.
        error: why the step failed, if it did.
        revoked: the task was revoked while it ran; Celery has told everybody.
    """

    verdict: Verdict
    error: CfWorkersError | None = None
    revoked: bool = False


@dataclass(frozen=True)
class _Attempt:
    task: AgentTask
    runtime: Runtime
    header: RunHeader
    step: PlannedStep
    claim: Claim
    token: CancelToken

    @property
    def number(self) -> int:
        return self.claim.attempts + 1


def perform(task: AgentTask, runtime: Runtime, header: RunHeader, step: PlannedStep) -> Performed:
    """Execute a step, unless somebody else does or has done so.

    Raises:
        Retry: the attempt failed and the next one has been published.
        Ignore: another worker has taken the step over.
        Reject: the worker is stopping at once; the message goes back.
    """
    heartbeat = runtime.heartbeat
    nonce = uuid4().hex
    claim = runtime.outlast(
        "claim",
        lambda: runtime.store.claim(
            header, step, heartbeat.worker, may_take_over=heartbeat.may_take_over, nonce=nonce
        ),
    )
    if claim.verdict == "wire":
        task.try_again(CfWorkersError("the run was started by a newer release"), _TOO_NEW_SECONDS)
    if claim.verdict == "done":
        _release(runtime, header, step)
    if claim.verdict not in {"run", "skip", "cancel", "lost"}:
        log.info("step.passed_over run=%s step=%s verdict=%s", header.run, step.id, claim.verdict)
        return Performed(claim.verdict)
    attempt = _Attempt(task, runtime, header, step, claim, CancelToken())
    revocation = token_for(task.request.id)
    forget = revocation.on_cancel(lambda: attempt.token.cancel(str(revocation.reason)))
    try:
        with heartbeat.holding(claim, attempt.token.cancel):
            outcome, error = _execute(attempt, revocation)
            committed = runtime.outlast("commit", lambda: runtime.store.commit(claim, outcome))
    finally:
        forget()
    if committed is None:
        log.warning("commit.superseded run=%s step=%s fence=%d", header.run, step.id, claim.fence)
        return Performed("held")
    after_commit(runtime, header, step, committed)
    return Performed(claim.verdict, error, revoked=revocation.reason is Reason.REVOKED)


def _execute(attempt: _Attempt, revocation: Token) -> tuple[Outcome, CfWorkersError | None]:
    """Bring the step to an outcome, or raise what ends this delivery without one."""
    step, claim = attempt.step, attempt.claim
    if claim.verdict != "run":
        return _not_asked(attempt)
    try:
        answer = asking.ask(attempt.runtime, attempt.header, step, claim, attempt.token)
    except NotNow as refusal:
        return _put_off(attempt, refusal)
    except CancelledError as error:
        return _cancelled(attempt, error, revocation), None
    except TransientError as error:
        return _failed(attempt, error)
    except CfWorkersError as error:
        return asking.failed(error, step, attempts=attempt.number), error
    return succeeded(answer, step, attempts=claim.attempts + (not answer.cached)), None


def _not_asked(attempt: _Attempt) -> tuple[Outcome, CfWorkersError | None]:
    """The outcome of a step whose claim says that no call is to be made."""
    step, claim = attempt.step, attempt.claim
    if claim.verdict == "skip":
        return asking.not_run("skip", step, "a dependency did not succeed", attempts=claim.attempts), None
    if claim.verdict == "cancel":
        return asking.not_run("cancel", step, "the run is stopping", attempts=claim.attempts), None
    lost = _give_up(attempt)
    return asking.failed(lost, step, attempts=claim.attempts), lost


def _put_off(attempt: _Attempt, refusal: NotNow) -> tuple[Outcome, CfWorkersError]:
    """Park the step, which ends this delivery, unless its caller or too many probes say otherwise."""
    if refusal.instead is not None:
        failed = asking.failed(refusal.instead, attempt.step, attempts=attempt.claim.attempts)
        return failed, refusal.instead
    if refusal.probe is None or attempt.claim.probes < _FREE_PROBES:
        _park(attempt, refusal)
    return _failed(attempt, refusal.probe)


def _failed(attempt: _Attempt, error: CfWorkersError) -> tuple[Outcome, CfWorkersError]:
    """Another attempt where one is left, which ends this delivery."""
    if isinstance(error, TransientError):
        _retry_if_allowed(attempt, error)
    return asking.failed(error, attempt.step, attempts=attempt.number), error


def _give_up(attempt: _Attempt) -> LostError:
    """Keep the evidence, before the step ends: who dies in between leaves it to the next one."""
    step, claim = attempt.step, attempt.claim
    lost = LostError(
        f"{claim.deaths} workers died while they ran step {step.id!r} (agent {step.agent!r})",
        {
            "deaths": claim.deaths,
            "hint": "look for what kills them: memory, a signal, the host; then `cf-workers dlq requeue`",
        },
    )
    letter = DeadLetter(
        run=claim.run,
        step=step.id,
        agent=step.agent,
        attempt=attempt.header.attempt,
        deaths=claim.deaths,
        workers=claim.dead,
        error=lost.message,
    )
    attempt.runtime.outlast("dead letter", lambda: attempt.runtime.dead_letters.add(letter))
    log.error("step.given_up run=%s step=%s deaths=%d", claim.run, step.id, claim.deaths)
    return lost


def _cancelled(attempt: _Attempt, error: CancelledError, revocation: Token) -> Outcome:
    if attempt.token.reason == _SUPERSEDED:
        raise Ignore(_SUPERSEDED) from None
    if revocation.reason is Reason.DRAINING:
        attempt.runtime.store.defer(
            attempt.claim, attempts=attempt.claim.attempts, countdown=0, reason="draining", lost_calls=1
        )
        raise surrender(revocation) from None
    return asking.failed(error, attempt.step, attempts=attempt.number)


def _park(attempt: _Attempt, refusal: NotNow) -> NoReturn:
    """Put the step aside: no slot, no message and no attempt is spent while it waits.

    Raises:
        Retry: always, with the reason; nothing is published, the reconciler does that in its time.
    """
    store, claim = attempt.runtime.store, attempt.claim
    probed: Outcome | None = None
    lost_calls = 0
    if refusal.probe is not None:
        probed = asking.failed(refusal.probe, attempt.step, attempts=claim.attempts)
        lost_calls = asking.maybe_lost(refusal.probe)
    parked = attempt.runtime.outlast(
        "park",
        lambda: store.park(
            claim, countdown=refusal.retry_in, reason=refusal.reason, lost_calls=lost_calls, probed=probed
        ),
    )
    if not parked:
        raise Ignore(_SUPERSEDED) from None
    if refusal.waits is not None and not refusal.waits():
        attempt.runtime.outlast("unpark", lambda: store.unpark([claim.waiter]))
    # events, and with them Flower, show nothing of a retry but the error behind it
    why = refusal.probe or TransientError(refusal.reason, {"retry_after": refusal.retry_in})
    raise Retry(refusal.reason, exc=why, when=refusal.retry_in) from None


def _retry_if_allowed(attempt: _Attempt, error: TransientError) -> None:
    """Publish the next attempt and raise `Retry`; return if this was the last one."""
    step, task = attempt.step, attempt.task
    allowed = task.max_retries if step.max_retries is None else step.max_retries
    if attempt.number > allowed:
        return
    countdown = task.wait_after(error, attempt.number)
    deferred = attempt.runtime.outlast(
        "defer",
        lambda: attempt.runtime.store.defer(
            attempt.claim,
            attempts=attempt.number,
            countdown=countdown,
            reason=error.message,
            lost_calls=asking.maybe_lost(error),
            spent=asking.failed(error, step, attempts=attempt.number),
        ),
    )
    if not deferred:
        raise Ignore(_SUPERSEDED) from None
    try:
        task.try_again(error, countdown)
    except (redis.RedisError, OperationalError) as away:
        log.error(
            "retry.not_sent run=%s step=%s error=%s", attempt.header.run, step.id, type(away).__name__
        )  # the record says when it is due, and the reconciler reads it
        raise Retry(str(error), exc=error, when=countdown) from None


def after_commit(runtime: Runtime, header: RunHeader, step: PlannedStep, committed: Committed) -> None:
    """Release what the end of a step made ready, or end the run that is stopping."""
    if not committed.stopping:
        _release(runtime, header, step)
    elif committed.running == 0 and not header.message:
        _publish(lambda: runtime.launcher.finish(header), header, step)


def _release(runtime: Runtime, header: RunHeader, step: PlannedStep) -> None:
    _publish(lambda: runtime.launcher.release(header, step.id), header, step)


def _publish(publish: Callable[[], None], header: RunHeader, step: PlannedStep) -> None:
    """A release that fails is repeated by the reconciler; the step itself has been committed."""
    try:
        publish()
    except (redis.RedisError, OperationalError) as error:
        log.error("release.failed run=%s step=%s error=%s", header.run, step.id, type(error).__name__)
