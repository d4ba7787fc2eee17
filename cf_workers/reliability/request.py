"""How is a task that runs in a thread revoked, and what happens to it when the connection breaks?

Used as `Request = "cf_workers.reliability.request:Request"` on a task class.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.platforms import signals
from celery.worker.request import Request as CeleryRequest

from cf_workers.reliability.cancellation import Reason, draining, token_for
from cf_workers.reliability.transport import Channel

log = logging.getLogger(__name__)

_AFTERMATH = frozenset({"task-succeeded", "task-failed", "task-retried", "task-rejected"})


class Request(CeleryRequest):
    """A request whose task is asked to stop. In a pool of processes it behaves as Celery's own."""

    _already_revoked: bool
    acknowledged: bool

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Revoke a running task: announce it as revoked, and let its token tell the task."""
        if not _cooperative(pool) or not self.time_start:
            super().terminate(pool, signal)
            return
        if self._already_revoked:
            return
        self._already_revoked = True  # from here on, what the task itself reports is no news
        token_for(self.id).cancel(Reason.REVOKED)
        self._announce_revoked("terminated", True, str(signals.signum(signal or "TERM")), False)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Give way to a worker that stops at once. A broken connection alone stops no thread.

        Celery calls this in both cases, but asks to emit a retry for a task that is acknowledged late only
        when the connection broke.
        """
        if not _cooperative(pool):
            super().cancel(pool, signal, emit_retry)
        elif not self.task.acks_late:
            token_for(self.id).cancel(Reason.DRAINING)
            self._announce_cancelled(emit_retry=emit_retry)
        elif not emit_retry:
            token_for(self.id).cancel(Reason.DRAINING)

    def acknowledge(self) -> None:
        """Acknowledge. The event loop, which does it otherwise, stands still while the worker drains.

        Without this, a drain that is killed in the end would run again what it had finished.
        """
        if self.acknowledged or not self._acts_alone():
            super().acknowledge()
            return
        self.message.ack_log_error(log, self.connection_errors)
        self.acknowledged = True

    def reject(self, requeue: bool = False) -> None:
        """Reject, and give the message back to other workers before this one has drained."""
        if self.acknowledged or not self._acts_alone():
            super().reject(requeue)
            return
        self.message.reject_log_error(log, self.connection_errors, requeue)
        self.acknowledged = True
        self.send_event("task-rejected", requeue=requeue)

    def _acts_alone(self) -> bool:
        """Repaired channels may be used from any thread."""
        return draining.is_set() and isinstance(self.message.channel, Channel)

    def send_event(self, type: str, **fields: Any) -> None:
        """What a revoked task still did before it noticed is no news: it stays revoked."""
        if self._already_revoked and type in _AFTERMATH:
            return
        super().send_event(type, **fields)


def _cooperative(pool: Any) -> bool:
    return getattr(pool, "cooperative", False)
