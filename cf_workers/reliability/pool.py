"""How do threads run tasks without ever losing one?

Celery's own thread pool drops an exception that escapes the tracer: the message is never acknowledged and its
slot is gone for good. It cannot change its size, cancel a task or stop before the last task has ended.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any, cast

from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool
from celery.exceptions import WorkerLostError
from celery.worker import state

from cf_workers.processor import Processor
from cf_workers.reliability.cancellation import Reason, token_for
from cf_workers.reliability.ledger import ledger
from cf_workers.reliability.policy import policy_of
from cf_workers.reliability.threads import ThreadCrew

log = logging.getLogger(__name__)

Callback = Callable[..., Any]


class Running:
    """One task handed to the pool; Celery keeps it as the result of `apply_async`."""

    def __init__(self, pool: TaskPool, request: Any, task_id: str) -> None:
        self.pool = pool
        self.request = request
        self.token = token_for(task_id)

    def take(self) -> None:
        """From now on the message is kept when a connection breaks."""
        if self.request is not None and self.request.task.acks_late:
            ledger.hold(self.request.message.delivery_tag)

    def let_go(self) -> None:
        """The task will not be finished here: its message may go back."""
        if self.request is not None:
            ledger.settle(self.request.message.delivery_tag)

    def terminate(self, signal: Any = None) -> None:  # noqa: ARG002 - Celery's signature
        """Ask the task to stop, on behalf of request classes that know no tokens.

        They mark themselves as cancelled first when it is not the task, but this worker, that has to end.
        """
        cancelled = getattr(self.request, "_already_cancelled", False)
        self.token.cancel(Reason.DRAINING if cancelled else Reason.REVOKED)


class TaskPool(BasePool):
    """A pool of threads that answers for every task it accepts."""

    limit: int
    body_can_be_buffer = True
    signal_safe = False
    cooperative = True
    """Tasks are asked to stop through their tokens; no process is killed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.policy = policy_of(self.app)
        self.limit = int(self.limit or 0)
        self.spare = self.policy.spare
        self._crew = ThreadCrew(self.limit + self._spare_threads)
        self._processor = Processor(self.policy.computing)
        self._smallest = min(self.limit, 1)
        self._running: dict[int, Running] = {}
        self._hub: Any = None
        self._abandoned_at: float | None = None

    def register_with_event_loop(self, loop: Any) -> None:
        self._hub = loop

    # -- running tasks

    def on_apply(  # noqa: PLR0917 - Celery's signature
        self,
        target: Callback,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callback | None = None,
        accept_callback: Callback | None = None,
        error_callback: Callback | None = None,
        correlation_id: str | None = None,
        **_: Any,
    ) -> Running:
        """Queue a call. Its request is found through the error callback, which is one of its methods."""
        running = Running(
            self, getattr(error_callback, "__self__", None), correlation_id or f"job-{id(target)}"
        )

        def job() -> None:
            try:
                with self._processor.use():
                    if accept_callback:
                        accept_callback(os.getpid(), time.monotonic())
                    self._settle(target, args or (), kwargs or {}, callback, error_callback)
            except BaseException as error:  # noqa: BLE001 - whatever escapes, the message and the slot come back
                self._requeue(running, error)
            finally:
                self._running.pop(id(running), None)

        self._running[id(running)] = running
        running.take()
        if not self._crew.submit(job):
            self._running.pop(id(running), None)
            running.let_go()
        return running

    @staticmethod
    def _settle(
        target: Callback,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        callback: Callback | None,
        failed: Callback | None,
    ) -> None:
        """Run the tracer and report what came of it.

        A `BaseException` of the task (SystemExit, KeyboardInterrupt) is the task's failure, as the loss of
        the child process is with prefork. An `Exception` here comes from around the task.
        """
        try:
            returned = target(*args, **kwargs)
        except Exception:
            raise
        except BaseException as error:  # noqa: BLE001 - reported as the failure of the task
            returned = _lost(error)
        report = failed if isinstance(returned, ExceptionInfo) else callback
        if report:
            report(returned)

    def _requeue(self, running: Running, error: BaseException) -> None:
        """Free the slot now, and give the message back after a pause."""
        request = running.request
        if request is None:
            log.error("call failed in the pool error=%r", error)
            return
        state.task_ready(request)
        if request.acknowledged:
            log.error("failed after acknowledging task=%s id=%s error=%r", request.name, request.id, error)
            return
        log.error(
            "requeueing task=%s id=%s after an error outside its body: %r", request.name, request.id, error
        )
        self._later(lambda: request.reject(requeue=True))

    def _later(self, callback: Callable[[], None]) -> None:
        """Call on the event loop after the pause.

        With a loop that has stopped, the message stays held until its channel closes and restores it.
        """
        hub = self._hub
        if hub is not None:
            hub.call_soon(lambda: hub.call_later(self.policy.requeue_delay, callback))
        else:
            callback()

    # -- size

    def grow(self, n: int = 1) -> None:
        self._resize(self.limit + n)

    def shrink(self, n: int = 1) -> None:
        """Run `n` fewer tasks at once; those that run already finish.

        Raises:
            ValueError: fewer than one thread would be left.
        """
        if self.limit - n < self._smallest:
            raise ValueError(
                f"cannot shrink {self.limit} threads by {n}: at least {self._smallest} must stay"
            )
        self._resize(self.limit - n)

    def _resize(self, limit: int) -> None:
        self.limit = limit
        self._crew.resize(limit + self._spare_threads)

    @property
    def _spare_threads(self) -> int:
        return max(self.spare.values(), default=0)

    # -- stopping

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Threads have no pid of their own: Celery also terminates the result, and that knows its task."""

    def abandon(self) -> None:
        """Ask every task to stop, and wait for them only `abandon_after` seconds more."""
        if self._abandoned_at is None:
            self._abandoned_at = time.monotonic()
        for running in list(self._running.values()):
            running.token.cancel(Reason.DRAINING)

    def on_stop(self) -> None:
        """Wait for the running tasks; for a moment only when told to stop at once."""
        if state.should_terminate:
            self.abandon()
        if not self._crew.stop(self._may_wait):
            log.warning("stopping with %d tasks that did not notice; they run again", self._crew.busy_count)
        for running in list(self._running.values()):
            running.let_go()

    def on_terminate(self) -> None:
        self.abandon()
        self.on_stop()

    def _may_wait(self) -> bool:
        return self._abandoned_at is None or time.monotonic() < self._abandoned_at + self.policy.abandon_after

    def _get_info(self) -> dict[str, Any]:
        info = cast("dict[str, Any]", super()._get_info())
        info.update({"max-concurrency": self.limit, "threads": self._crew.thread_count})
        return info


def _lost(error: BaseException) -> ExceptionInfo:
    try:
        raise WorkerLostError(f"the task ended its thread: {error!r}") from error
    except WorkerLostError:
        return ExceptionInfo()
