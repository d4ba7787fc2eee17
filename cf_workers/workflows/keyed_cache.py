"""How do a hundred threads that need the same immutable value read it once?"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class KeyedCache(Generic[K, V]):
    """The `size` last used values; each is read by one thread while the others that want it wait.

    A failed read is not remembered: whoever waited for it reads for itself.
    """

    def __init__(self, read: Callable[[K], V], *, size: int) -> None:
        self._read = read
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._reading: dict[K, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V:
        """The value under `key`, read now if it is not here; raises what reading it raises."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            reading = self._reading.setdefault(key, threading.Lock())
        with reading:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            try:
                value = self._read(key)
            except BaseException:  # whatever it is, who waits tries for itself
                with self._lock:
                    self._reading.pop(key, None)
                raise
            with self._lock:
                self._values[key] = value
                self._reading.pop(key, None)
                while len(self._values) > self._size:
                    self._values.popitem(last=False)
            return value
