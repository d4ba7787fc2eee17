"""Where does a call wait for another one's first word, while nobody else wants its slot?

It has been claimed and put together by then, and goes on as soon as the word has come. All who wait in one
process share one thread that looks at the prefixes, and at how many slots there still are to spare.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum

import redis

from cf_workers.agents.cancel import CancelToken
from cf_workers.prefixes import Prefixes
from cf_workers.processor import blocking

log = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 0.02
_LEAVING_SECONDS = 0.2
"""What it takes a call at most to give its slot back, on a busy worker."""


class News(Enum):
    """Why a call need not wait in its slot any longer."""

    WARM = "the prefix can be read"
    COLD = "the provider does not keep it"
    VACANT = "nobody writes the prefix any more"
    WANTED = "others want the slot"
    CANCELLED = "the call was cancelled"
    LATE = "it has waited for as long as it would"


class _Seat:
    def __init__(self) -> None:
        self.news = News.LATE
        self.told = threading.Event()

    def tell(self, news: News) -> None:
        """The first news stands."""
        if not self.told.is_set():
            self.news = news
            self.told.set()


class Lobby:
    """Seats for calls that wait in their slots.

    Args:
        spare: how many slots of this process nobody is about to want; below zero: so many are missing.
    """

    def __init__(self, prefixes: Prefixes, spare: Callable[[], int]) -> None:
        self._prefixes = prefixes
        self._spare = spare
        self._seats: dict[_Seat, str] = {}
        self._lock = threading.Lock()
        self._watching = False
        self._leaving_until = float("-inf")

    @property
    def open(self) -> bool:
        """Whether one more call, which has a slot, may wait in it."""
        return self._spare() >= 0

    @property
    def seated(self) -> int:
        """How many calls wait here."""
        return len(self._seats)

    def wait(self, prefix: str, token: CancelToken, seconds: float) -> News:
        """Wait until there is news of a prefix that another call writes, but only so long."""
        seat = _Seat()
        forget = token.on_cancel(lambda: seat.tell(News.CANCELLED))
        with self._lock:
            self._seats[seat] = prefix
            starts, self._watching = not self._watching, True
        if starts:
            threading.Thread(target=self._watch, name="lobby", daemon=True).start()
        try:
            with blocking():
                seat.told.wait(seconds)
        finally:
            forget()
            with self._lock:
                self._seats.pop(seat, None)
        return seat.news

    def begun(self, prefix: str) -> None:
        """A call of this process has heard the first word; those elsewhere are seen within a moment."""
        with self._lock:
            self._tell(self._waiting(prefix), News.WARM)

    def _watch(self) -> None:
        """Look, for as long as anybody waits."""
        try:
            while self._anybody():
                self._look()
                time.sleep(_LOOK_EVERY_SECONDS)
        except BaseException:
            self._watching = False  # who comes next starts another thread; who waits goes on in time
            raise

    def _anybody(self) -> bool:
        with self._lock:
            self._watching = bool(self._seats)
            return self._watching

    def _look(self) -> None:
        with self._lock:
            self._give_back()
            watched = set(self._seats.values())
        try:
            found = self._prefixes.look(watched)
        except redis.RedisError as error:
            log.warning("prefix.not_seen error=%s", type(error).__name__)
            return
        with self._lock:
            for prefix, state in found.items():
                if state is None:
                    self._tell(self._waiting(prefix)[:1], News.VACANT)
                elif state != "writing":
                    self._tell(self._waiting(prefix), News.WARM if state == "warm" else News.COLD)

    def _give_back(self) -> None:
        """Send as many away as slots are missing, the last first, and then wait until these are free."""
        missing = -self._spare()
        if missing > 0 and time.monotonic() >= self._leaving_until:
            self._leaving_until = time.monotonic() + _LEAVING_SECONDS
            self._tell(list(self._seats)[-missing:], News.WANTED)

    def _waiting(self, prefix: str) -> list[_Seat]:
        """In the order in which they came."""
        return [seat for seat, wanted in self._seats.items() if wanted == prefix]

    def _tell(self, seats: list[_Seat], news: News) -> None:
        for seat in seats:
            del self._seats[seat]
            seat.tell(news)
