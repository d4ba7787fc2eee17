"""How often may a server that does not answer cost us its time-out?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Cooldown:
    """After a failure nothing is let through for a while, then one caller at a time until it succeeds."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._until: float | None = None
        self._lock = threading.Lock()

    @property
    def over(self) -> bool:
        """Whether the caller may try; it then says how it went."""
        if self._until is None:
            return True
        with self._lock:
            now = self._monotonic()
            if self._until is not None and now < self._until:
                return False
            if self._until is not None:
                self._until = now + self._seconds
            return True

    def failed(self) -> None:
        with self._lock:
            self._until = self._monotonic() + self._seconds

    def succeeded(self) -> None:
        if self._until is not None:
            with self._lock:
                self._until = None
