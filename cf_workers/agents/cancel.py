"""How does one thread tell another to stop what it waits for?"""

from __future__ import annotations

import threading
from collections.abc import Callable


class CancelToken:
    """A request to stop, made once, from any thread, and never withdrawn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._next_key = 0

    @property
    def cancelled(self) -> bool:
        return self._reason is not None

    @property
    def reason(self) -> str | None:
        """Why, in a few words for a person; `None` as long as nobody cancelled."""
        return self._reason

    def cancel(self, reason: str = "cancelled") -> None:
        """Ask whoever works under this token to stop. The first reason stands.

        Runs the registered callbacks in this thread before it returns.
        """
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Run `callback` once when cancelled, at once if that has happened. It must be quick and not raise.

        Returns:
            A function that takes the callback off again; harmless when it has run.
        """
        with self._lock:
            if self._reason is None:
                key = self._next_key
                self._next_key += 1
                self._callbacks[key] = callback
                return lambda: self._forget(key)
        callback()
        return lambda: None

    def _forget(self, key: int) -> None:
        with self._lock:
            self._callbacks.pop(key, None)
