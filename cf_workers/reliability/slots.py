"""Which queues may a worker take from while only few of its slots are free?

A worker serves its queues in order, but a message of the last queue that has begun holds its slot for as long
as its call takes. So each queue leaves some slots to those served before it, and the first ones have spare
slots on top. A retry that Celery has kept until it was due leaves them as well, and goes before new messages.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from cf_workers.reliability.cancellation import draining

_PAUSE_SECONDS = 0.1
_ASK_AT_ONCE = 50
_AT_HAND = 1 / 8
"""Of all, kept for what comes next before any counts as spare: so much may come until one is given back."""


class Slots:
    """The slots of one worker, as its queues see them.

    Args:
        limit: how many tasks may run at once, without the spare ones.
        taken: how many slots are taken.
        reserves: by queue, the share of all slots that it leaves free for the others.
        spare: by queue, how many slots beyond the limit it may take.
    """

    def __init__(
        self,
        limit: Callable[[], int],
        taken: Callable[[], int],
        *,
        reserves: Mapping[str, float],
        spare: Mapping[str, int],
    ) -> None:
        self._limit = limit
        self._taken = taken
        self._reserves = reserves
        self._spare = spare
        self._due: dict[str, set[str]] = {}

    def shut(self, queues: Collection[str]) -> frozenset[str]:
        """Those of the queues a worker serves that it takes no new message from at the moment."""
        return self._full(queues) | {queue for queue in queues if self._due.get(queue)}

    def may_retry(self, task: str, queue: str, queues: Collection[str]) -> bool:
        """Whether a task that is due may begin; if not, its queue is shut until it has."""
        due = self._due.setdefault(queue, set())
        if queue in self._full(queues):
            due.add(task)
            return False
        due.discard(task)
        return True

    @property
    def pause(self) -> float:
        """Seconds after which a task that is due asks again: longer, the more of them there are."""
        return _PAUSE_SECONDS * (1 + sum(map(len, self._due.values())) / _ASK_AT_ONCE)

    def _full(self, queues: Collection[str]) -> frozenset[str]:
        limit = self._limit()
        free = limit - self._taken()
        kept = {queue: self._keeps_free(queue, limit) for queue in queues}
        # with nobody to leave slots to, none are left
        unused = max(0, min(kept.values(), default=0))
        return frozenset(queue for queue, keep in kept.items() if free <= keep - unused)

    def room(self, queue: str, queues: Collection[str]) -> int:
        """How many messages may be taken from one of the queues before it is shut."""
        limit = self._limit()
        kept = {each: self._keeps_free(each, limit) for each in queues}
        unused = max(0, min(kept.values(), default=0))
        return limit - self._taken() - kept[queue] + unused

    def to_spare(self, queues: Collection[str]) -> int:
        """How many more slots could be taken without anybody's having to wait; below zero: too many are."""
        left = min((self.room(queue, queues) for queue in queues), default=0)
        return left - max(1, math.ceil(self._limit() * _AT_HAND))

    def _keeps_free(self, queue: str, limit: int) -> int:
        if queue in self._spare:
            return -self._spare[queue]
        return max(0, min(math.ceil(limit * self._reserves.get(queue, 0.0)), limit - 1))


_here: tuple[int, Slots, Callable[[], Collection[str]]] | None = None


def note_slots(slots: Slots, queues: Callable[[], Collection[str]]) -> None:
    """Say which are the slots of this process's worker, and which queues it serves."""
    global _here  # noqa: PLW0603
    _here = os.getpid(), slots, queues


def spare_slots() -> int:
    """How many slots of this process's worker nobody is about to want; below zero: so many are missing.

    All are missing where no worker runs in this process, as in the children of prefork, and while it drains.
    """
    here = _here
    if here is None or here[0] != os.getpid() or draining.is_set():
        return -sys.maxsize
    _, slots, queues = here
    return slots.to_spare(queues())


class OpenQueues:
    """kombu's cycle of queues without those that are shut."""

    def __init__(self, cycle: Any, shut: Callable[[], frozenset[str]]) -> None:
        self._cycle = cycle
        self._shut = shut
        self.last: str | None = None
        """The queue from which the last message came."""
        self.asked: list[str] = []
        """The queues that were waited for last."""

    def consume(self, number: int) -> list[str]:
        """The next queues to wait for."""
        self.asked = self.open(number)
        return self.asked

    def open(self, number: int) -> list[str]:
        """The first queues, by their order, that are not shut."""
        shut = self._shut()
        return [queue for queue in self._cycle.consume(number) if queue not in shut]

    def rotate(self, queue: str) -> None:
        """A message has come from this queue."""
        self.last = queue
        self._cycle.rotate(queue)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cycle, name)
