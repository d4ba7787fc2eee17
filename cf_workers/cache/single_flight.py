"""Who makes a call that many want at the same time? One of them; the others hold no slot while it runs.

The first to ask leads and renews its lease while it works. Whoever comes later is put on the list of those
who wait, and told when to look again at the latest: the end of the leader's lease. When the leader lands it
gets the list, and wakes them. A leader that dies is followed by the first of them to look.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import redis

from cf_workers._redis import FlightKeys, Keys, RedisClient, Script
from cf_workers.cache.policy import CachePolicy
from cf_workers.cache.store import Hit, Store, shard_of
from cf_workers.clock import Clock
from cf_workers.wire import canonical_json

log = logging.getLogger(__name__)

_SEEK = Script(__package__, "seek")
_RENEW = Script(__package__, "renew")
_LAND = Script(__package__, "land")
_COMPLETE = Script(__package__, "complete")

_WAITING_SECONDS = 86_400.0
_OUTCOME_MS = 600_000
_ALONE, _NEXT = "alone", "next"
_LOOKS = 3
"""Seeking again after an entry that was no good; somebody may be writing them on purpose."""


@dataclass(frozen=True)
class Lead:
    """Make the call, store the answer, then land.

    Args:
        until: Unix time at which the lease ends unless it is renewed.
        took_over: the leader before this one was lost.
        ahead: how far the server's time was ahead of this process's monotonic clock, in seconds.
    """

    key: str
    holder: str
    until: float
    took_over: bool = False
    ahead: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Follow:
    """Somebody else makes the call: park, and ask again when woken, at `due` (Unix time) at the latest."""

    key: str
    waiter: str
    due: float


@dataclass(frozen=True)
class Alone:
    """Make the call without leading: its answer cannot be shared, or the cache's server fails."""


@dataclass(frozen=True)
class Failed:
    """The leader's call failed in a way that any other would; `failure` is what the leader handed in."""

    failure: Mapping[str, Any]


Standing: TypeAlias = Lead | Follow | Alone | Failed


class Landed(NamedTuple):
    """What became of a leader's answer.

    Args:
        kept: whether it was stored.
        waiters: to wake: all who wait; none if another leads by now.
    """

    kept: bool
    waiters: list[str]


class SingleFlight:
    """Calls in flight, one leader each, for the whole fleet.

    Every method raises `redis.RedisError` when the server fails.

    Args:
        entries: where answers are found and kept.
        clock: whose time counts, instead of the server's.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        entries: Store,
        *,
        clock: Clock | None = None,
        policy: CachePolicy | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._entries = entries
        self._clock = clock
        self.policy = policy or CachePolicy()
        self._shards = [keys.cache_shard(number) for number in range(self.policy.shards)]
        self._seek = _SEEK.bare(client)

    def seek(self, key: str, *, holder: str, waiter: str) -> Hit | Standing:
        """The answer to a call, or what the caller should do about it; one round trip for both.

        Only a hit is counted: who makes the call misses, who follows gets its answer in the end.

        Args:
            key: the call's fingerprint.
            holder: names this attempt, and no other in the fleet.
            waiter: by which the caller can be woken, the same whenever it asks; for example its run and step.
        """
        shard, flight = self._shards[shard_of(key, len(self._shards))], self._flight(key)
        keys = (shard.entries, shard.lru, shard.counters, flight.flight, flight.waiters, flight.outcomes)
        ttl_ms, now = int(self.policy.ttl_seconds * 1000), self._given_ms() or ""
        asked = (*keys, key, holder, waiter, self._lease_ms, ttl_ms, now, int(_WAITING_SECONDS * 1000))
        for _ in range(_LOOKS):
            secret = self._entries.secret()
            verdict, at, text, now_ms, *found = self._seek(*asked)
            hit = self._entries.hit_of(key, now_ms, found, secret) if found else None
            if hit is not None:
                return hit
            if verdict != b"hit":
                break
        ahead = now_ms / 1000 - time.monotonic()
        match verdict:
            case b"lead":
                return Lead(key, holder, at / 1000, took_over=text == b"1", ahead=ahead)
            case b"follow":
                return Follow(key, waiter, at / 1000)
            case b"failed":
                return failure_from(text)
        return Alone()

    def waits(self, follow: Follow) -> bool:
        """Whether the caller is still on the list.

        Ask after having parked: if not, the leader has landed in between and nobody will wake the caller.
        """
        return self._client.zscore(self._flight(follow.key).waiters, follow.waiter) is not None

    def leave(self, key: str, waiter: str) -> None:
        """Take a waiter off the list that does not want the answer any more."""
        flight = self._flight(key)
        with self._client.pipeline() as pipe:
            pipe.zrem(flight.waiters, waiter)
            pipe.hdel(flight.outcomes, waiter)
            pipe.execute()

    def renew(self, leads: Sequence[Lead]) -> list[Lead]:
        """Prolong the leases, one round trip for all; returns those that somebody else has taken over."""
        with self._client.pipeline(transaction=False) as pipe:
            for lead in leads:
                args = {"holder": lead.holder, "lease_ms": self._lease_ms, "now": self._given_ms()}
                _RENEW(pipe, {"flight": self._flight(lead.key).flight}, args)
            still = pipe.execute() if leads else []
        return [lead for lead, leading in zip(leads, still, strict=True) if not leading]

    def complete(
        self, lead: Lead, document: Any, *, tags: Mapping[str, str], cost_nanos: int | None, failures: int = 0
    ) -> Landed:
        """Keep the answer, and land; one round trip for both. What `Store.put` refuses is not shared.

        Raises:
            TypeError, ValueError: as `Store.put`.
        """
        placing = self._entries.placing(
            lead.key,
            document,
            tags=tags,
            cost_nanos=cost_nanos,
            now_ms=self._now_ms(lead),
            failures=failures,
        )
        flight = self._flight(lead.key)
        stored, waiters = _COMPLETE(
            self._client,
            {**placing.keys, **vars(flight)},
            {**placing.args, "holder": lead.holder, "outcome_ms": _OUTCOME_MS, "unshared": _ALONE},
        )
        return Landed(bool(stored), [waiter.decode() for waiter in waiters])

    def abandon(self, lead: Lead, *, called: bool = False) -> list[str]:
        """Only this leader failed: it was cancelled, or ran out of its own time.

        Args:
            called: the call was made, and counts as a miss.

        Returns:
            The one waiter to wake, which then leads; the others go on waiting.
        """
        return self._land(lead, _NEXT, called=called)

    def disperse(self, lead: Lead) -> list[str]:
        """There is an answer that cannot be shared.

        Returns:
            The waiters to wake; each then calls for itself.
        """
        return self._land(lead, _ALONE, called=True)

    def fail(self, lead: Lead, failure: Mapping[str, Any]) -> list[str]:
        """The call failed as any other like it would. Returns the waiters to wake; each is told `failure`.

        Args:
            failure: a JSON object.
        """
        return self._land(lead, canonical_json(dict(failure)), called=True)

    def _land(self, lead: Lead, outcome: str, *, called: bool) -> list[str]:
        keys = self._of(lead.key, "flight", "waiters", "outcomes", "counters")
        args = {"holder": lead.holder, "outcome": outcome, "outcome_ms": _OUTCOME_MS, "called": called}
        return [waiter.decode() for waiter in _LAND(self._client, keys, args)]

    @property
    def _lease_ms(self) -> int:
        return max(1, int(self.policy.lease_seconds * 1000))

    def _given_ms(self) -> int | None:
        return None if self._clock is None else int(self._clock.now() * 1000)

    def _now_ms(self, lead: Lead) -> int | None:
        """The server's time, from when it let the caller lead."""
        if self._clock is not None or lead.ahead is None:
            return self._given_ms()
        return int((lead.ahead + time.monotonic()) * 1000)

    def _flight(self, key: str) -> FlightKeys:
        return self._keys.cache_flight(shard_of(key, self.policy.shards), key)

    def _of(self, key: str, *names: str) -> dict[str, str]:
        shard = shard_of(key, self.policy.shards)
        keys = vars(self._keys.cache_shard(shard)) | vars(self._keys.cache_flight(shard, key))
        return {name: keys[name] for name in names}


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
