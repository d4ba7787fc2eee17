"""How does a caller use the cache without ever depending on it?

Whatever happens to the cache's server: a look-up is a miss, a store does nothing, a call is made alone. A
server that does not answer costs its time-out once, then it is left alone for a while.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, ParamSpec, TypeVar

import redis

from cf_workers._redis import Keys, RedisClient
from cf_workers.cache.cooldown import Cooldown
from cf_workers.cache.fingerprint import DIGEST_LENGTH
from cf_workers.cache.policy import CachePolicy
from cf_workers.cache.secret import SecretSource
from cf_workers.cache.single_flight import Alone, Follow, Landed, Lead, Renewal, SingleFlight, Standing
from cf_workers.cache.stats import CacheStats, Inspection
from cf_workers.cache.store import Hit, Store
from cf_workers.clock import Clock
from cf_workers.errors import InputError, ServerUnreachableError

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Miss:
    """There is no answer: none that can be given, or nobody could say (`unavailable`)."""

    reason: Literal["absent", "unavailable", "disabled"] = "absent"


_ABSENT, _UNAVAILABLE, _DISABLED = Miss("absent"), Miss("unavailable"), Miss("disabled")


class Cache:
    """The response cache as everybody uses it.

    Args:
        client: a client of `connect_bounded`, with the policy's `timeout_seconds`.
        clock: whose time counts, instead of the server's.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        secret: SecretSource,
        *,
        clock: Clock | None = None,
        policy: CachePolicy | None = None,
    ) -> None:
        self.policy = policy or CachePolicy()
        self.entries = Store(client, keys, secret, clock=clock, policy=self.policy)
        self.flights = SingleFlight(client, keys, self.entries, clock=clock, policy=self.policy)
        self._renewal = Renewal(self.flights.renew, lease_seconds=self.policy.lease_seconds)
        self._cooldown = Cooldown(self.policy.cooldown_seconds)
        self._unreported = 0
        self._lock = threading.Lock()
        self.failures = 0
        """Operations that the server failed, in this process."""

    def lookup(self, key: str, *, allow_stale: bool = False, count_miss: bool = True) -> Hit | Miss:
        """The answer under a fingerprint.

        Args:
            allow_stale: give one past its time to live as well: for a second look, when the call cannot be
                made.
            count_miss: false for who calls `count_miss` when the call is made, or looks again.
        """
        if not self.policy.enabled:
            return _DISABLED
        return self._guarded(self.entries.get, _UNAVAILABLE, key, allow_stale, count_miss) or _ABSENT

    def count_miss(self, key: str) -> None:
        """Count a call that was made because its answer was not there."""
        if self.policy.enabled:
            self._guarded(self.entries.count_miss, None, key)

    def store(self, key: str, document: Any, *, tags: Mapping[str, str], cost_nanos: int | None) -> bool:
        """Keep an answer; whether it was kept.

        Args:
            document: a JSON value.
            tags: what `invalidate` can find it by: `agent`, `workflow`, `model`.
            cost_nanos: what it cost, in billionths of a dollar; `None`: unknown.

        Raises:
            TypeError, ValueError: the document is not JSON, or the cost is out of range.
        """
        if not self.policy.enabled:
            return False
        return bool(
            self._reporting(partial(self.entries.put, key, document, tags=tags, cost_nanos=cost_nanos))
        )

    def seek(self, key: str, *, holder: str, waiter: str) -> Hit | Standing:
        """The answer under a fingerprint, or what to do about the call; `Alone` when the server fails.

        Args:
            holder: names this attempt, and no other in the fleet.
            waiter: by which the caller can be woken, the same whenever it asks.
        """
        if not self.policy.enabled:
            return Alone()
        return self._guarded(partial(self.flights.seek, key, holder=holder, waiter=waiter), Alone())

    def leading(self, standing: Standing) -> AbstractContextManager[None]:
        """Renew the lease of a leader for as long as the block runs; nothing for everybody else."""
        return self._renewal.holding(standing) if isinstance(standing, Lead) else nullcontext()

    def waits(self, follow: Follow) -> bool:
        """Whether the caller, parked by now, will be woken; if not, it should ask again at once."""
        return self._guarded(self.flights.waits, True, follow)

    def leave(self, key: str, waiter: str) -> None:
        """Take a waiter off the list that does not want the answer any more."""
        self._guarded(self.flights.leave, None, key, waiter)

    def complete(
        self, lead: Lead, document: Any, *, tags: Mapping[str, str], cost_nanos: int | None
    ) -> Landed:
        """Keep the leader's answer for all; arguments and errors as with `store`."""
        complete = partial(self.flights.complete, lead, document, tags=tags, cost_nanos=cost_nanos)
        return self._reporting(complete) or Landed(kept=False, waiters=[])

    def abandon(self, lead: Lead, *, called: bool = False) -> list[str]:
        """Only this leader failed; returns the waiter to wake, which leads next.

        Args:
            called: the call was made and counts as a miss, as with `complete`, `disperse` and `fail`.
        """
        return self._guarded(partial(self.flights.abandon, lead, called=called), [])

    def disperse(self, lead: Lead) -> list[str]:
        """The answer cannot be shared; returns the waiters to wake, each of which calls for itself."""
        return self._guarded(self.flights.disperse, [], lead)

    def fail(self, lead: Lead, failure: Mapping[str, Any]) -> list[str]:
        """Any such call would fail; returns the waiters to wake, each of which is told `failure`."""
        return self._guarded(self.flights.fail, [], lead, failure)

    def stats(self) -> CacheStats:
        """The whole fleet's numbers.

        Raises:
            ServerUnreachableError: the cache's server fails.
        """
        return _asked(self.entries.stats)

    def clear(self) -> int:
        """Take out everything; how many entries that were.

        Raises:
            ServerUnreachableError: the cache's server fails.
        """
        return _asked(self.entries.clear)

    def invalidate(
        self,
        *,
        agent: str | None = None,
        workflow: str | None = None,
        model: str | None = None,
        older_than_seconds: float | None = None,
    ) -> int:
        """Take out the entries that fit all that is given; how many there were.

        Raises:
            InputError: nothing is given.
            ServerUnreachableError: the cache's server fails.
        """
        given = {"agent": agent, "workflow": workflow, "model": model}
        tags = {name: value for name, value in given.items() if value is not None}
        if not tags and older_than_seconds is None:
            raise InputError(
                "nothing says what to invalidate",
                {"hint": "give an agent, a workflow, a model or an age; `clear` takes out everything"},
            )
        return _asked(lambda: self.entries.invalidate(tags, older_than_seconds=older_than_seconds))

    def inspect(self, key: str, *, content: bool = False) -> Inspection | None:
        """What is known of an entry, without using it; the answer itself only with `content`.

        Raises:
            InputError: the key is no fingerprint.
            ServerUnreachableError: the cache's server fails.
        """
        if len(key) != DIGEST_LENGTH or not set(key) <= set("0123456789abcdef"):
            raise InputError(
                f"{key[:80]!r} is not the key of an entry",
                {"hint": f"a key has {DIGEST_LENGTH} hexadecimal digits, in lower case"},
            )
        return _asked(lambda: self.entries.inspect(key, content=content))

    def _reporting(self, store: Callable[..., T]) -> T | None:
        """Store something, and hand in with it what has failed and was not counted yet."""
        with self._lock:
            failures, self._unreported = self._unreported, 0
        stored = self._guarded(partial(store, failures=failures), None)
        if stored is None:
            with self._lock:
                self._unreported += failures
        return stored

    def _guarded(self, operate: Callable[P, T], otherwise: U, *args: P.args, **kwargs: P.kwargs) -> T | U:
        if not self._cooldown.over:
            return otherwise
        try:
            result = operate(*args, **kwargs)
        except redis.RedisError as error:
            self._cooldown.failed()
            with self._lock:
                self.failures += 1
                self._unreported += 1
            log.warning("cache.failed error=%s", type(error).__name__)
            return otherwise
        self._cooldown.succeeded()
        return result


def _asked(operate: Callable[[], T]) -> T:
    try:
        return operate()
    except redis.RedisError as error:
        raise ServerUnreachableError(
            f"the cache's server fails: {type(error).__name__}",
            {"hint": "see `cf-workers doctor`"},
        ) from None
