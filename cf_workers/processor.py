"""How do many threads share one interpreter without all of them being late?

Its lock gives each thread that wants it a little at a time. A hundred replies that arrive together are so all
done with together, at the end; the next hundred calls begin and end together again, and between two such
bursts the processor lies idle. In order, the first is done with long before the last, the next calls begin
one after the other, and from then on hardly two want the processor at once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from types import TracebackType

_local = threading.local()


class Processor:
    """So many threads compute at once; the others wait in the order in which they came.

    This is a courtesy and no lock: it guards nothing. Who waits for longer than those before it can take goes
    on in the place of the thread that has kept its own for longest.

    Args:
        places: threads that compute at once. Some, for a thread keeps its place while it asks Redis.
        patience_seconds: for which a thread is expected to keep its place, at most.
    """

    def __init__(self, places: int, *, patience_seconds: float = 0.05) -> None:
        self.places = places
        self.patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._computing: dict[Use, None] = {}
        self._waiting: deque[tuple[Use, threading.Lock]] = deque()

    def use(self) -> Use:
        """A block in which one thread computes, but for where it is `blocking`."""
        return Use(self)

    @property
    def waiting(self) -> int:
        """Threads that wait for a place."""
        return len(self._waiting)

    def take(self, use: Use) -> None:
        """Return when there is a place for this use."""
        called = threading.Lock()
        with self._lock:
            if len(self._computing) < self.places:
                self._computing[use] = None
                return
            called.acquire()
            self._waiting.append((use, called))
            patience = len(self._waiting) * self.patience_seconds
        if not called.acquire(timeout=patience):
            self._displace(use, called)

    def give_back(self, use: Use) -> None:
        """Call the next one, unless somebody has gone on in this one's place."""
        with self._lock:
            if use not in self._computing:
                return
            del self._computing[use]
            if self._waiting:
                following, called = self._waiting.popleft()
                self._computing[following] = None
                called.release()

    def _displace(self, use: Use, called: threading.Lock) -> None:
        with self._lock:
            if use not in self._computing:
                self._waiting.remove((use, called))
                del self._computing[next(iter(self._computing))]
                self._computing[use] = None


class Use:
    """What one thread does with the processor: it has a place while the `with` block runs."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor

    def __enter__(self) -> None:
        self.resume()
        _local.use = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _local.use = None
        self.pause()

    def pause(self) -> None:
        """Let another thread have the place."""
        self._processor.give_back(self)

    def resume(self) -> None:
        """Wait for a place, behind those that wait already."""
        self._processor.take(self)


class _Blocking:
    """Pauses the use of the thread it is entered in; it has no state, so that one serves all."""

    def __enter__(self) -> None:
        use: Use | None = getattr(_local, "use", None)
        if use is not None:
            use.pause()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        use: Use | None = getattr(_local, "use", None)
        if use is not None:
            use.resume()


_blocking = _Blocking()


def blocking() -> _Blocking:
    """A block in which the thread waits for something else and leaves its place, if it has one, to others."""
    return _blocking


def sleep(seconds: float) -> None:
    """`time.sleep`, without a place."""
    with blocking():
        time.sleep(seconds)
