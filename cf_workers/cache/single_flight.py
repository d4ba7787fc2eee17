"""Who makes a call that many want at the same time? One of them; the others hold no slot while it runs.

The first to ask leads and renews its lease while it works. Whoever comes later is put on the list of those
who wait, and told when to look again at the latest: the end of the leader's lease. When the leader lands it
gets the list, and wakes them. A leader that dies is followed by the first of them to look.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import redis

from cf_workers._redis import Keys, RedisClient, Script
from cf_workers.cache.policy import CachePolicy
from cf_workers.cache.store import shard_of
from cf_workers.clock import Clock
from cf_workers.wire import canonical_json

log = logging.getLogger(__name__)

_LEAD = Script(__package__, "lead")
_RENEW = Script(__package__, "renew")
_LAND = Script(__package__, "land")

_WAITING_SECONDS = 86_400.0
_OUTCOME_SECONDS = 600.0
_ALONE, _NEXT, _STORED = "alone", "next", ""


@dataclass(frozen=True)
class Lead:
    """Make the call, store the answer, then land.

    Args:
        until: Unix time at which the lease ends unless it is renewed.
        took_over: the leader before this one was lost.
    """

    key: str
    holder: str
    until: float
    took_over: bool = False


@dataclass(frozen=True)
class Follow:
    """Somebody else makes the call: park, and ask again when woken, at `due` (Unix time) at the latest."""

    key: str
    waiter: str
    due: float


@dataclass(frozen=True)
class Ready:
    """An answer is stored by now: look it up."""


@dataclass(frozen=True)
class Alone:
    """Make the call without leading: its answer cannot be shared, or the cache's server fails."""


@dataclass(frozen=True)
class Failed:
    """The leader's call failed in a way that any other would; `failure` is what the leader handed in."""

    failure: Mapping[str, Any]


Standing: TypeAlias = Lead | Follow | Ready | Alone | Failed


class SingleFlight:
    """Calls in flight, one leader each, for the whole fleet.

    Every method raises `redis.RedisError` when the server fails.

    Args:
        clock: whose time counts, instead of the server's.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        *,
        clock: Clock | None = None,
        policy: CachePolicy | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self.policy = policy or CachePolicy()

    def lead_or_follow(self, key: str, *, holder: str, waiter: str) -> Standing:
        """What the caller should do about a call whose answer it did not find.

        Args:
            key: the call's fingerprint.
            holder: names this attempt, and no other in the fleet.
            waiter: by which the caller can be woken, the same whenever it asks; for example its run and step.
        """
        args = {
            "digest": key,
            "holder": holder,
            "waiter": waiter,
            "lease_ms": self._lease_ms,
            "ttl_ms": int(self.policy.ttl_seconds * 1000),
            "now": self._given_ms(),
            "waiting_ms": int(_WAITING_SECONDS * 1000),
        }
        verdict, at, text = _LEAD(self._client, self._of(key), args)
        match verdict.decode():
            case "lead":
                return Lead(key, holder, at / 1000, took_over=text == b"1")
            case "follow":
                return Follow(key, waiter, at / 1000)
            case "failed":
                return failure_from(text)
            case "ready":
                return Ready()
        return Alone()

    def waits(self, follow: Follow) -> bool:
        """Whether the caller is still on the list.

        Ask after having parked: if not, the leader has landed in between and nobody will wake the caller.
        """
        return self._client.zscore(self._of(follow.key)["waiters"], follow.waiter) is not None

    def leave(self, key: str, waiter: str) -> None:
        """Take a waiter off the list that does not want the answer any more."""
        flight = self._of(key)
        with self._client.pipeline() as pipe:
            pipe.zrem(flight["waiters"], waiter)
            pipe.hdel(flight["outcomes"], waiter)
            pipe.execute()

    def renew(self, leads: Sequence[Lead]) -> list[Lead]:
        """Prolong the leases, one round trip for all; returns those that somebody else has taken over."""
        with self._client.pipeline(transaction=False) as pipe:
            for lead in leads:
                args = {"holder": lead.holder, "lease_ms": self._lease_ms, "now": self._given_ms()}
                _RENEW(pipe, {"flight": self._of(lead.key)["flight"]}, args)
            still = pipe.execute() if leads else []
        return [lead for lead, leading in zip(leads, still, strict=True) if not leading]

    def complete(self, lead: Lead) -> list[str]:
        """The answer is stored. Returns the waiters to wake: all of them; none if another leads by now."""
        return self._land(lead, _STORED)

    def abandon(self, lead: Lead) -> list[str]:
        """Only this leader failed: it was cancelled, or ran out of its own time.

        Returns:
            The one waiter to wake, which then leads; the others go on waiting.
        """
        return self._land(lead, _NEXT)

    def disperse(self, lead: Lead) -> list[str]:
        """There is an answer that cannot be shared.

        Returns:
            The waiters to wake; each then calls for itself.
        """
        return self._land(lead, _ALONE)

    def fail(self, lead: Lead, failure: Mapping[str, Any]) -> list[str]:
        """The call failed as any other like it would. Returns the waiters to wake; each is told `failure`.

        Args:
            failure: a JSON object.
        """
        return self._land(lead, canonical_json(dict(failure)))

    def _land(self, lead: Lead, outcome: str) -> list[str]:
        keys = {name: key for name, key in self._of(lead.key).items() if name != "index"}
        args = {"holder": lead.holder, "outcome": outcome, "outcome_ms": int(_OUTCOME_SECONDS * 1000)}
        return [waiter.decode() for waiter in _LAND(self._client, keys, args)]

    @property
    def _lease_ms(self) -> int:
        return max(1, int(self.policy.lease_seconds * 1000))

    def _given_ms(self) -> int | None:
        return None if self._clock is None else int(self._clock.now() * 1000)

    def _of(self, key: str) -> dict[str, str]:
        return vars(self._keys.cache_flight(shard_of(key, self.policy.shards), key))


def failure_from(text: bytes) -> Failed:
    """What a leader left for those who waited."""
    return Failed(json.loads(text))


class Renewal:
    """Renews the leases of this process's leaders, three times a lease, for as long as they work.

    The thread starts with the first leader and is a daemon; a leader that was superseded just goes on.
    """

    def __init__(self, renew: Callable[[Sequence[Lead]], object], *, lease_seconds: float) -> None:
        self._renew = renew
        self._every = lease_seconds / 3
        self._held: dict[str, Lead] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, lead: Lead) -> Iterator[None]:
        """Keep `lead` alive for as long as the block runs."""
        with self._changed:
            self._held[lead.holder] = lead
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="cache-renewal", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._held.pop(lead.holder, None)
                if not self._held:
                    self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait(self._every)
                if not self._held:
                    self._thread = None
                    return
                held = list(self._held.values())
            try:
                self._renew(held)
            except redis.RedisError as error:
                log.warning("cache.renewal_failed error=%s", type(error).__name__)
