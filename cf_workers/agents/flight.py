"""How is a thread woken that waits for the network?

By shutting down the socket it waits on; closing the client or the response from another thread does not do.
So each call in flight knows the socket it is using at this moment, and whoever wants it to stop - its
deadline, its cancel token - asks the flight. No socket that has gone back to the pool is ever touched.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import ipaddress
import itertools
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

Abort = Literal["cancelled", "deadline"]

_LOOK_EVERY = 0.05
"""Seconds between two looks at the flight while a connection is made, which no shutdown can interrupt."""


class Flight:
    """One call in flight: when it must be over, and the socket it is using.

    Args:
        deadline: on the monotonic clock, in seconds.
    """

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.landed = False
        self.answered = False
        """Whether the head of an answer has arrived."""
        self.request_id: str | None = None
        self._lock = threading.Lock()
        self._aborted: Abort | None = None
        self._socket: socket.socket | None = None

    @property
    def aborted(self) -> Abort | None:
        return self._aborted

    def abort(self, why: Abort) -> None:
        """Make the flight's thread return from whatever it waits for; the first reason stands."""
        with self._lock:
            if self._aborted is not None or self.landed:
                return
            self._aborted = why
            if self._socket is not None:
                _shut_down(self._socket)

    def hold(self, sock: socket.socket) -> None:
        """From here on this flight waits on `sock`.

        Raises:
            ConnectionAbortedError: the flight has been aborted.
        """
        if self._socket is sock and self._aborted is None:
            return
        with self._lock:
            self._socket = sock
        self.check()

    def release(self) -> None:
        """From here on the socket is no longer this flight's: it is closed, or goes back to the pool."""
        with self._lock:
            self._socket = None

    def check(self) -> None:
        """Raise if the flight has been aborted.

        Raises:
            ConnectionAbortedError: it has.
        """
        if self._aborted is not None:
            raise ConnectionAbortedError(errno.ECONNABORTED, f"the call was stopped: {self._aborted}")


_local = threading.local()


def current() -> Flight | None:
    """The flight whose call runs in this thread, if one does."""
    return getattr(_local, "flight", None)


@contextlib.contextmanager
def airborne(flight: Flight) -> Iterator[None]:
    """Within this block the thread's connections belong to `flight`, and its deadline is watched."""
    dog = watchdog()
    dog.watch(flight)
    _local.flight = flight
    try:
        yield
    finally:
        _local.flight = None
        dog.unwatch(flight)


class Watchdog:
    """Aborts every flight whose deadline has passed: one thread, however many flights."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._heap: list[tuple[float, int, Flight]] = []
        self._numbers = itertools.count()
        self._landed = 0
        self._thread: threading.Thread | None = None

    def watch(self, flight: Flight) -> None:
        with self._changed:
            entry = (flight.deadline, next(self._numbers), flight)
            heapq.heappush(self._heap, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cf-workers-watchdog", daemon=True)
                self._thread.start()
            elif self._heap[0] is entry:
                self._changed.notify()

    def unwatch(self, flight: Flight) -> None:
        with self._changed:
            flight.landed = True
            self._landed += 1
            # Landed flights stay in the heap until their deadline comes, or until they are the majority.
            if self._landed > 64 and self._landed * 2 > len(self._heap):  # noqa: PLR2004
                self._heap = [entry for entry in self._heap if not entry[2].landed]
                heapq.heapify(self._heap)
                self._landed = 0

    def __len__(self) -> int:
        """How many entries are kept, landed flights included."""
        return len(self._heap)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = self._clock()
                while self._heap and (self._heap[0][0] <= now or self._heap[0][2].landed):
                    _, _, flight = heapq.heappop(self._heap)
                    self._landed -= flight.landed
                    flight.abort("deadline")
                self._changed.wait(self._heap[0][0] - now if self._heap else None)


_watchdog = Watchdog()


def watchdog() -> Watchdog:
    """The watchdog of this process."""
    return _watchdog


def _after_fork() -> None:
    # The parent's thread does not exist here, and its lock may be held for ever.
    global _watchdog  # noqa: PLW0603
    _watchdog = Watchdog()
    _local.flight = None


os.register_at_fork(after_in_child=_after_fork)


def dial(
    host: str,
    port: int,
    timeout: float | None,
    options: Iterable[tuple[Any, ...]],
    source: tuple[str, int] | None,
) -> socket.socket:
    """A connected TCP socket; stops within `_LOOK_EVERY` when the thread's flight is aborted.

    Args:
        timeout: bound on resolving the name, and on each address tried, in seconds.
        options: arguments of `setsockopt`.
        source: local address to connect from.

    Raises:
        TimeoutError: no connection in that time.
        OSError: the name is unknown, or every address refuses.
    """
    failure: OSError = OSError(f"no address for {host!r}")
    for family, kind, protocol, _, address in _resolve(host, port, timeout):
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            if source is not None:
                sock.bind(source)
            _connect(sock, address, timeout)
        except ConnectionAbortedError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:  # a cancel as well: nobody else has this socket to close it
            sock.close()
            raise
        else:
            return sock
    raise failure


def _resolve(host: str, port: int, timeout: float | None) -> list[Any]:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    answers: list[Any] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.append(error)
        answered.set()

    # Nothing can interrupt getaddrinfo: it runs in a thread of its own, which may be left behind.
    thread = threading.Thread(target=ask, name="cf-workers-resolve", daemon=True)
    thread.start()
    try:
        _wait(answered.wait, timeout)
    except TimeoutError:
        raise socket.gaierror(socket.EAI_AGAIN, "the name server did not answer in time") from None
    answer = answers[0]
    if isinstance(answer, Exception):
        raise answer if isinstance(answer, OSError) else socket.gaierror(socket.EAI_NONAME, "bad host name")
    return list(answer)


def _connect(sock: socket.socket, address: Any, timeout: float | None) -> None:
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        _wait(lambda seconds: bool(poll.poll(seconds * 1000)), timeout)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
    sock.setblocking(True)


def _wait(done: Callable[[float], bool], timeout: float | None) -> None:
    """Wait in slices, so that an abort is seen."""
    flight = current()
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        if flight is not None:
            flight.check()
        left = _LOOK_EVERY if end is None else min(_LOOK_EVERY, end - time.monotonic())
        if left <= 0:
            raise TimeoutError("timed out")
        if done(left):
            return


def _shut_down(sock: socket.socket) -> None:
    # The method of the base class: that of SSLSocket takes the TLS state from under the thread that reads.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
