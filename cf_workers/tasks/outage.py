"""What does a worker do while its server is away? It keeps what it has, and waits.

A call that was paid must not be lost because its answer cannot be written down for a few seconds. Every step
that the engine takes through here may be repeated: its script says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import redis

from cf_workers import processor

T = TypeVar("T")

log = logging.getLogger(__name__)

AWAY = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError)
"""What is raised while a server is away, loads its data, or has just handed over to its replica."""


@dataclass(frozen=True)
class OutagePolicy:
    """How long an outage is waited out.

    Args:
        longest_seconds: then the error is raised, and the step is taken over from the record.
        first_wait_seconds: between two tries; doubled each time.
        longest_wait_seconds: bound of the growth.
    """

    longest_seconds: float = 600.0
    first_wait_seconds: float = 0.1
    longest_wait_seconds: float = 2.0


class Outlast:
    """Repeats what fails because the server is away, until it is back.

    The thread that waits is one of the pool's: a worker that is to end at once does not wait for it.
    """

    def __init__(
        self,
        policy: OutagePolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = processor.sleep,
    ) -> None:
        self.policy = policy or OutagePolicy()
        self._clock = clock
        self._sleep = sleep

    def __call__(self, what: str, do: Callable[[], T]) -> T:
        """Do it, now or when the server is back.

        Args:
            what: for the log.
            do: safe to repeat.

        Raises:
            redis.RedisError: the outage lasts too long.
        """
        wait = self.policy.first_wait_seconds
        until: float | None = None
        while True:
            try:
                return do()
            except AWAY as error:
                if until is None:
                    until = self._clock() + self.policy.longest_seconds
                    log.warning("server.away waiting_to=%s error=%s", what, type(error).__name__)
                if self._clock() + wait > until:
                    raise
            self._sleep(wait)
            wait = min(2 * wait, self.policy.longest_wait_seconds)
