"""Which messages does this process still answer for?

Celery forgets with each broken connection; the broker, through its visibility timeout, does not. A message
whose task is running here must not be given back, and one whose task has ended here must still be
acknowledged, whatever became of the connection it came by.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from time import monotonic, time
from typing import Any

from celery.worker import state


class Ledger:
    """Delivery tags by what is still to be done about them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._held: set[str] = set()
        self._owed: set[str] = set()
        self._left: dict[str, float] = {}
        self._rescued: dict[str, Any] = {}
        self._connection_lost = False
        self._sweep_from = 0.0

    def hold(self, tag: str) -> None:
        """A task of this tag was handed to the pool."""
        with self._lock:
            self._held.add(tag)

    def settle(self, tag: str) -> None:
        """The broker knows the outcome of this tag, or its task will not run here any more."""
        with self._lock:
            self._held.discard(tag)
            self._owed.discard(tag)
            self._left.pop(tag, None)
            self._rescued.pop(tag, None)

    def owe(self, tag: str) -> None:
        """The task has ended, but its acknowledgement did not reach the broker."""
        with self._lock:
            self._held.discard(tag)
            self._owed.add(tag)

    def leave(self, tags: Iterable[str]) -> None:
        """Nobody here works on these, but they could not be given back yet."""
        with self._lock:
            for tag in tags:
                self._held.discard(tag)
                self._left[tag] = time()

    def rescue(self, tag: str, message: Any) -> None:
        """The message was received, but the broker does not know that we hold it."""
        with self._lock:
            self._rescued[tag] = message

    def rescued(self) -> dict[str, Any]:
        with self._lock:
            return dict(self._rescued)

    def owed(self) -> set[str]:
        with self._lock:
            return set(self._owed)

    def left(self) -> dict[str, float]:
        """Tags to give back, with the Unix time since when."""
        with self._lock:
            return dict(self._left)

    def kept(self) -> set[str]:
        """Tags that must not be given back: held by a running task, or owed an acknowledgement."""
        with self._lock:
            tags = self._held | self._owed
        return tags | {request.message.delivery_tag for request in _running()}

    def connection_lost(self) -> None:
        """The connection to the broker broke."""
        self._connection_lost = True

    def may_sweep(self, pause: float) -> bool:
        """Whether other workers' messages may be judged abandoned; asked with a working connection.

        While the broker was away no lease could be renewed, so just after it comes back every message looks
        abandoned. Having lost its connection, a worker gives the others `pause` seconds to return.
        """
        if self._connection_lost:
            self._connection_lost = False
            self._sweep_from = monotonic() + pause
        return monotonic() >= self._sweep_from

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
            self._owed.clear()
            self._left.clear()
            self._rescued.clear()
            self._connection_lost = False
            self._sweep_from = 0.0


def _running() -> list[Any]:
    """Requests that run now, for pools that keep no ledger; the main thread changes the set meanwhile."""
    for _ in range(10):
        try:
            return list(state.active_requests)
        except RuntimeError:
            continue
    return []


ledger = Ledger()
"""The process's own. Its users, which kombu and Celery create by themselves, cannot be handed one."""
