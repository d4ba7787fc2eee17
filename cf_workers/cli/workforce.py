"""Who does the work that a command waits for?

Workers that are there. If none is, and the server is the embedded one, the command runs one itself for as
long as it waits; a configured server belongs to somebody, who starts workers as needed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cf_workers.cli.companions import Companion, leaving_on_sigterm
from cf_workers.cli.output import notice, warn
from cf_workers.errors import CfWorkersError, NoWorkerError
from cf_workers.wire import CONTROL, INTERACTIVE
from cf_workers.workflows.outcome import FINAL
from cf_workers.workflows.plan import queue_of
from cf_workers.workflows.spec import Lane

if TYPE_CHECKING:
    from cf_workers.client import Client

READY_WITHIN = 60.0
DRAIN_SECONDS = 5.0
OTHERS_SECONDS = 180.0
"""More than a call of the default time-out takes: cut off, it would be paid for nothing."""

LOOK_AGAIN = 0.1
LOCAL_CONCURRENCY = 20
MOST_STARTS = 3


class Workforce:
    """Makes sure that somebody works, before something is enqueued and while it is waited for."""

    def __init__(self, client: Client, queues: Iterable[str] = (INTERACTIVE,)) -> None:
        self._client = client
        self._queues = sorted({*queues})
        self._own: Companion | None = None
        self._starts = 0
        self._warned = False
        self._leaving = leaving_on_sigterm()

    @property
    def is_own(self) -> bool:
        """Whether the work is done by a worker that ends with this command."""
        return self._own is not None

    def require(self) -> None:
        """Find workers for every queue, or start one where that is ours to do.

        Raises:
            NoWorkerError: nobody listens on a queue, and no local worker could be started.
        """
        if not self._missing():
            return
        if self._client.context.embedded is None:
            for queue in self._queues:
                self._client.require_worker(queue)
        self._start()

    def look_after(self) -> None:
        """While waiting: replace a local worker that is gone, tell of others that are."""
        if not self._missing():
            self._warned = False
        elif self._client.context.embedded is not None and self._starts < MOST_STARTS:
            self._start()
        elif not self._warned:
            self._warned = True
            warn("no worker is alive any more; the work waits for one (`celery -A cf_workers worker`)")

    def warn_if_missing(self) -> None:
        """For work that is not waited for."""
        if self._missing():
            warn("no worker listens: this waits until one is started (`celery -A cf_workers worker`)")

    def close(self, *, hurried: bool = True) -> None:
        """Stop the worker that was started, if one was; calls in flight get a little time to end.

        Args:
            hurried: false when what was waited for has ended: what the worker still does is then done for
                other commands, and may take its time.
        """
        own, self._own = self._own, None
        if own is None:
            return
        ended = own.ask_to_end(patience=DRAIN_SECONDS)
        if not ended and not hurried:
            notice("The local worker ends what it has begun for other commands; Ctrl-C stops it at once.")
            own.wait(OTHERS_SECONDS)
        own.insist()

    def ended_as(self, run: str) -> str | None:
        """How a run has ended; `None` if it has not, or nobody can be asked."""
        try:
            with self._client.reaching():
                status = self._client.history.status(run)
        except CfWorkersError:
            return None
        return status if status in FINAL else None

    def __enter__(self) -> Self:
        self._leaving.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close(hurried=error is not None)
        finally:
            self._leaving.__exit__(None, None, None)

    def _missing(self) -> bool:
        workers = self._client.workers()
        served = {queue for worker in workers for queue in worker["queues"]}
        return not served.issuperset(self._queues)

    def _start(self) -> None:
        self.close()
        self._starts += 1
        context = self._client.context
        assert context.embedded is not None  # noqa: S101
        log = context.embedded.state_dir / "worker.log"
        notice(f"No worker is running: starting a local one for this command (log: {log}).")
        environ = {"CF_WORKERS_WORKER__CONCURRENCY": str(LOCAL_CONCURRENCY), **os.environ}
        if context.project_path is not None:
            environ["CF_WORKERS_CONFIG"] = str(context.project_path.resolve())
        self._own = Companion("celery", "-A", "cf_workers", "worker", log=log, environ=environ)
        self._wait_until_ready(self._own, log)

    def _wait_until_ready(self, own: Companion, log: Path) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while self._missing():
            if not own.running or time.monotonic() > deadline:
                what = "did not become ready" if own.running else "ended at once"
                self.close()
                raise NoWorkerError(f"the local worker {what}", {"hint": f"read {log}"})
            time.sleep(LOOK_AGAIN)


def queues_of(lanes: Iterable[Lane]) -> set[str]:
    """The queues that a run of steps in these lanes needs; its end is a message of its own."""
    return {CONTROL, *map(queue_of, lanes)}
