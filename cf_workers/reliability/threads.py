"""How do a changing number of threads share one queue of jobs?"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

Job = Callable[[], None]


class ThreadCrew:
    """Up to `limit` daemon threads that run jobs in order; the limit may change at any time.

    Threads are started when there is work for them and leave when the limit falls below their number. They
    are daemons so that a process which must end now does not wait for a call that has minutes to go.

    The lock is re-entrant, because `stop` also runs inside signal handlers that interrupt `stop`.
    """

    def __init__(self, limit: int, name: str = "task") -> None:
        self.limit = limit
        self._name = name
        self._changed = threading.Condition(threading.RLock())
        self._jobs: deque[Job] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._started = 0
        self._stopping = False

    @property
    def thread_count(self) -> int:
        return len(self._threads)

    @property
    def busy_count(self) -> int:
        """Threads that run a job now."""
        with self._changed:
            return len(self._threads) - self._idle

    def submit(self, job: Job) -> bool:
        """Queue a job. False, and the job is dropped, once the crew is stopping."""
        with self._changed:
            if self._stopping:
                return False
            self._jobs.append(job)
            self._staff()
            self._changed.notify()
            return True

    def resize(self, limit: int) -> None:
        """Run up to `limit` jobs at once from now on; jobs that run already are left to finish."""
        with self._changed:
            self.limit = limit
            self._staff()
            self._changed.notify_all()

    def stop(self, may_wait: Callable[[], bool]) -> bool:
        """Start no further job; wait for the running ones as long as `may_wait` says. True if all ended."""
        with self._changed:
            self._stopping = True
            self._jobs.clear()
            self._changed.notify_all()
            while self.busy_count and may_wait():
                self._changed.wait(0.2)
            return not self.busy_count

    def _staff(self) -> None:
        while len(self._jobs) > self._idle and len(self._threads) < self.limit:
            self._started += 1
            thread = threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True)
            self._threads.add(thread)
            thread.start()
            self._idle += 1

    def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                self._run(job)
                del job
                with self._changed:
                    self._idle += 1
        finally:
            with self._changed:
                self._idle -= 1
                self._threads.discard(threading.current_thread())
                self._changed.notify_all()

    def _next(self) -> Job | None:
        """The next job, or nothing when this thread is one too many. Called, and left so, counted as idle."""
        with self._changed:
            while True:
                if self._stopping or len(self._threads) > self.limit:
                    return None
                if self._jobs:
                    self._idle -= 1
                    return self._jobs.popleft()
                self._changed.wait()

    def _run(self, job: Job) -> None:
        try:
            job()
        except BaseException:  # a thread of the crew outlives whatever a job does
            log.exception("job of the pool failed thread=%s", threading.current_thread().name)
