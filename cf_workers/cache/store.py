"""Where are answers kept, and how do they stay within their limit?

Each shard is a handful of hashes and sorted sets in one slot. Its accounts - the bytes stored and the order
of use - change in the same script as its entries, so that they are exact whoever writes at the same time.
Every method raises `redis.RedisError` when the server fails; `Cache` is the side that does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from cf_workers._redis import CacheShardKeys, Keys, RedisClient, Script
from cf_workers.cache.entry import (
    MAX_COST_NANOS,
    Head,
    Opened,
    TamperedError,
    encode,
    seal,
    unseal,
)
from cf_workers.cache.policy import CachePolicy
from cf_workers.cache.secret import SecretSource
from cf_workers.cache.stats import CacheStats, Inspection
from cf_workers.clock import Clock

_READ = Script(__package__, "read")
_PUT = Script(__package__, "put")
_DROP = Script(__package__, "drop")
_EXPIRE = Script(__package__, "expire")
_CLEAR = Script(__package__, "clear")
_INVALIDATE = Script(__package__, "invalidate")

_NO_GOOD = {b"over": "expired", b"broken": "integrity_failures", b"leftover": "integrity_failures"}
"""What counts an entry that reading found to be none."""

_SWEPT_PER_PUT = 20
_BATCH = 500
_LINGER_SECONDS = 86_400.0
"""How much longer than its last entry a shard's keys stay."""


@dataclass(frozen=True)
class Hit:
    """An answer that has been paid for already.

    Args:
        age_seconds: since it was stored.
        stale: past its time to live, given because stale answers were asked for.
        saved_nanos: what it cost then, in billionths of a dollar, and does not cost now; `None`: unknown.
    """

    document: Any
    age_seconds: float
    stale: bool = False
    saved_nanos: int | None = None


class Placing(NamedTuple):
    """Keys and arguments of `scripts/place.lua`."""

    keys: Mapping[str, str]
    args: Mapping[str, Any]


class Store:
    """The entries of the fleet.

    Args:
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
        self._client = client
        self._secret = secret
        self._clock = clock
        self.policy = policy or CachePolicy()
        self._shards = [keys.cache_shard(number) for number in range(self.policy.shards)]
        self._read = [
            _READ.on(client, {"entries": shard.entries, "lru": shard.lru, "counters": shard.counters})
            for shard in self._shards
        ]
        self._ttl_ms = _ms(self.policy.ttl_seconds)
        self._stale_ms = _ms(self.policy.stale_seconds)

    def get(self, key: str, allow_stale: bool = False, count_miss: bool = True) -> Hit | None:
        """The answer under a fingerprint; one round trip for a hit, and it counts as used.

        Args:
            allow_stale: give one past its time to live as well. This is for a second look after a miss: what
                it does not find is not counted again.
            count_miss: false for who will look again, or count the miss when the call has been made.
        """
        secret = self.secret()
        now = "" if self._clock is None else _ms(self._clock.now())
        stale_ms = self._stale_ms if allow_stale else ""
        counts = 1 if count_miss and not allow_stale else ""
        now_ms, *found = self._read[self._shard(key)](key, self._ttl_ms, stale_ms, now, counts)
        return self.hit_of(key, now_ms, found, secret, counted=bool(counts)) if found else None

    def hit_of(
        self, key: str, now_ms: int, found: Sequence[bytes], secret: bytes, *, counted: bool = False
    ) -> Hit | None:
        """What a script found, as a hit; what turns out to be none is taken out.

        Args:
            found: the entry, and what is wrong with it if anything is; see `scripts/look.lua`.
            counted: whether it would have been counted as a miss, had it been one.
        """
        entry, verdict = found[0], found[1] if len(found) > 1 else b""
        if verdict in _NO_GOOD:
            self._drop(key, entry, _NO_GOOD[verdict])
            return None
        opened = self._open(key, entry, secret)
        if opened is None:
            given = verdict or (b"fresh" if counted else b"unseen")
            self._drop(key, entry, "integrity_failures", given=given)
            return None
        age = (now_ms - opened.created_ms) / 1000
        return Hit(opened.document, max(0.0, age), verdict == b"stale", opened.cost_nanos)

    def secret(self) -> bytes:
        """With which entries are signed at this moment; asked before an entry is read."""
        return self._secret.get()

    def count_miss(self, key: str) -> None:
        """Count a call that was made because its answer was not there."""
        self._client.hincrby(self._shards[self._shard(key)].counters, "misses", 1)

    def put(
        self, key: str, document: Any, *, tags: Mapping[str, str], cost_nanos: int | None, failures: int = 0
    ) -> bool:
        """Keep an answer, and let go of the least recently used ones that stand in its way.

        Args:
            document: a JSON value.
            tags: what `invalidate` can find it by.
            cost_nanos: what it cost, in billionths of a dollar; `None`: unknown.
            failures: of the server, seen by this process and not reported yet.

        Returns:
            Whether it was kept; not if it is larger than a shard's share of the limit or than
            `max_document_bytes`.

        Raises:
            TypeError, ValueError: the document is not JSON, or the cost is out of range.
        """
        placing = self.placing(key, document, tags=tags, cost_nanos=cost_nanos, failures=failures)
        stored, _ = _PUT(self._client, *placing)
        return bool(stored)

    def placing(
        self,
        key: str,
        document: Any,
        *,
        tags: Mapping[str, str],
        cost_nanos: int | None,
        now_ms: int | None = None,
        failures: int = 0,
    ) -> Placing:
        """What a script has to be told that is to keep an answer; see `put`.

        Args:
            now_ms: the server's time, if it is known.

        Raises:
            TypeError, ValueError: as `put`.
        """
        if cost_nanos is not None and not 0 <= cost_nanos <= MAX_COST_NANOS:
            raise ValueError(f"cost_nanos is {cost_nanos}; it must be from 0 to {MAX_COST_NANOS}")
        policy = self.policy
        encoded = encode(document)
        now = self._now_ms() if now_ms is None else now_ms
        fresh = now + self._ttl_ms
        head = Head(now, fresh, fresh + self._stale_ms, cost_nanos, dict(tags))
        entry = seal(key, head, encoded, self._secret.get(), compress_above=policy.compress_above_bytes)
        fits = encoded.size <= policy.max_document_bytes
        return Placing(
            vars(self._shards[self._shard(key)]),
            {
                "digest": key,
                "entry": entry,
                "limit": policy.shard_bytes if fits else -1,
                "created": head.created_ms,
                "fresh": head.fresh_ms,
                "keep": head.keep_ms,
                "tags": head.tags_text,
                "now": now,
                "sweep": _SWEPT_PER_PUT,
                "linger_ms": _ms(policy.ttl_seconds + policy.stale_seconds + _LINGER_SECONDS),
                "failures": failures,
            },
        )

    def stats(self) -> CacheStats:
        """The whole fleet's numbers; what has expired is accounted out first."""
        self.expire()
        totals = dict.fromkeys(("entries", "bytes"), 0)
        with self._client.pipeline(transaction=False) as pipe:
            for shard in self._shards:
                pipe.hgetall(shard.counters)
                pipe.hget(shard.state, "bytes")
                pipe.hlen(shard.entries)
            replies = pipe.execute()
        for counters, stored, entries in zip(*[iter(replies)] * 3, strict=True):
            totals["entries"] += entries
            totals["bytes"] += int(stored or 0)
            for name, count in counters.items():
                totals[name.decode()] = totals.get(name.decode(), 0) + int(count)
        # Reading counts once only: every use and every store moves an entry to the end of the order of use.
        others = ("stores", "stale_hits", "broken_hits")
        totals["hits"] = totals.get("accesses", 0) - sum(totals.get(name, 0) for name in others)
        known = {name: count for name, count in totals.items() if name in CacheStats.__dataclass_fields__}
        return replace(CacheStats(max_bytes=self.policy.max_bytes), **known)

    def expire(self) -> int:
        """Account out everything whose time is over, in batches; how many entries that were."""
        total = 0
        for shard in self._shards:
            while swept := int(_EXPIRE(self._client, vars(shard), {"now": self._now_ms(), "most": _BATCH})):
                total += swept
        return total

    def clear(self) -> int:
        """Take out everything at once; how many entries that were. The counters stay."""
        kept = {"counters"}
        return sum(
            int(
                _CLEAR(self._client, {name: key for name, key in vars(shard).items() if name not in kept}, {})
            )
            for shard in self._shards
        )

    def invalidate(self, tags: Mapping[str, str], *, older_than_seconds: float | None = None) -> int:
        """Take out the entries that have all of these tags and that age; how many there were.

        The index of each shard is gone through in batches, so that no other call waits for long.
        """
        before = None if older_than_seconds is None else self._now_ms() - _ms(older_than_seconds)
        return sum(
            removed for shard in self._shards for removed in self._invalidate(shard, dict(tags), before)
        )

    def inspect(self, key: str, *, content: bool = False) -> Inspection | None:
        """What is known of an entry, without using it.

        Args:
            content: show the answer as well.
        """
        entry = self._client.hget(self._shards[self._shard(key)].entries, key)
        if entry is None:
            return None
        opened = self._open(key, entry, self._secret.get())
        if opened is None:
            return None
        now = self._now_ms()
        return Inspection(
            key=key,
            created_at=opened.created_ms / 1000,
            fresh_until=opened.fresh_ms / 1000,
            kept_until=opened.keep_ms / 1000,
            age_seconds=max(0.0, (now - opened.created_ms) / 1000),
            stale=now >= min(opened.fresh_ms, opened.created_ms + self._ttl_ms),
            cost_nanos=opened.cost_nanos,
            tags=opened.tags,
            bytes=len(entry),
            document_bytes=opened.document_bytes,
            document=opened.document if content else None,
        )

    def _drop(self, key: str, entry: bytes, counter: str, given: bytes = b"") -> None:
        args = {"digest": key, "entry": entry, "counter": counter, "given": given}
        _DROP(self._client, vars(self._shards[self._shard(key)]), args)

    def _open(self, key: str, entry: bytes, secret: bytes) -> Opened | None:
        try:
            return unseal(key, entry, secret, max_bytes=self.policy.max_document_bytes)
        except TamperedError:
            self._secret.doubt()
        if (renewed := self._secret.get()) != secret:
            return self._open(key, entry, renewed)
        return None

    def _invalidate(
        self, shard: CacheShardKeys, tags: Mapping[str, str], before: int | None
    ) -> Iterator[int]:
        cursor = b"0"
        while True:
            args = {"cursor": cursor, "batch": _BATCH, "tags": tags, "created_before": before}
            cursor, removed = _INVALIDATE(self._client, vars(shard), args)
            yield int(removed)
            if cursor == b"0":
                return

    def _shard(self, key: str) -> int:
        return shard_of(key, len(self._shards))

    def _now_ms(self) -> int:
        if self._clock is not None:
            return _ms(self._clock.now())
        seconds, micros = self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000


def shard_of(key: str, shards: int) -> int:
    """The number of the shard in which a fingerprint belongs."""
    return int(key[:8], 16) % shards


def _ms(seconds: float) -> int:
    return math.floor(seconds * 1000)
