"""Are the accounts exact, and is it the least recently used that goes, whatever happens in whatever order?"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import fakeredis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cf_workers._redis import Keys
from cf_workers.cache import Cache, CachePolicy, Miss
from cf_workers.cache.entry import Head, encode, seal
from cf_workers.cache.secret import GivenSecret
from tests.support.time import StandingClock

SECRET = b"s"
SHARD = Keys().cache_shard(0)
TTL, STALE = 100.0, 50.0
LIMIT = 1_500
ALWAYS = 10**9

lengths = st.sampled_from([0, 40, 150, 400, 400, 1_200, 1_500])
names = st.sampled_from([f"{number:064x}" for number in range(8)])


@dataclass
class Known:
    """What the model knows of an entry."""

    size: int
    document: str
    created: float
    agent: str
    broken: bool = False


class LruWithByteLimit(RuleBasedStateMachine):
    """The cache beside an ordered dictionary that does the same in the plainest way."""

    def __init__(self) -> None:
        super().__init__()
        self.client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        self.clock = StandingClock()
        policy = CachePolicy(
            ttl_seconds=TTL, stale_seconds=STALE, max_bytes=LIMIT, compress_above_bytes=ALWAYS
        )
        self.cache = Cache(self.client, Keys(), GivenSecret(SECRET), clock=self.clock, policy=policy)
        self.model: OrderedDict[str, Known] = OrderedDict()
        self.seen = dict.fromkeys(
            ("hits", "misses", "stale_hits", "evictions", "expired", "refused", "integrity_failures"), 0
        )

    def teardown(self) -> None:
        self.client.close()

    def _over(self, known: Known) -> bool:
        return self.clock.now() >= known.created + TTL + STALE

    def _expire(self) -> None:
        for key in [key for key, known in self.model.items() if self._over(known)]:
            del self.model[key]
            self.seen["expired"] += 1

    @rule(puts=st.lists(st.tuples(names, lengths, st.sampled_from("ab")), min_size=1, max_size=6))
    def put_some(self, puts: list[tuple[str, int, str]]) -> None:
        for key, length, agent in puts:
            self.put(key, length, agent)
            self.what_is_accounted_is_what_is_stored()

    def put(self, key: str, length: int, agent: str) -> None:
        document, now = "x" * length, int(self.clock.now() * 1000)
        head = Head(now, now + int(TTL * 1000), now + int((TTL + STALE) * 1000), 7, {"agent": agent})
        size = len(seal(key, head, encode(document), SECRET, compress_above=ALWAYS))

        kept = self.cache.store(key, document, tags={"agent": agent}, cost_nanos=7)

        self._expire()
        assert kept == (size <= LIMIT)
        if not kept:
            self.seen["refused"] += 1
            return
        self.model.pop(key, None)
        while sum(known.size for known in self.model.values()) + size > LIMIT:
            self.model.popitem(last=False)
            self.seen["evictions"] += 1
        self.model[key] = Known(size, document, self.clock.now(), agent)

    @rule(key=names, allow_stale=st.booleans())
    def look_up(self, key: str, allow_stale: bool) -> None:
        found = self.cache.lookup(key, allow_stale=allow_stale)

        expected = self._expected(key, allow_stale)
        assert (found.document if not isinstance(found, Miss) else None) == expected

    def _expected(self, key: str, allow_stale: bool) -> str | None:
        known = self.model.get(key)
        fresh = known is not None and self.clock.now() < known.created + TTL
        if known is not None and self._over(known):
            del self.model[key]
            self.seen["expired"] += 1
            known = None
        if known is None or not (fresh or allow_stale):
            self.seen["misses"] += not allow_stale
            return None
        if known.broken:
            del self.model[key]
            self.seen["integrity_failures"] += 1
            self.seen["misses"] += fresh and not allow_stale
            return None
        self.seen["hits" if fresh else "stale_hits"] += 1
        self.model.move_to_end(key)
        return known.document

    @rule(key=names)
    def tamper(self, key: str) -> None:
        if entry := self.client.hget(SHARD.entries, key):
            self.client.hset(SHARD.entries, key, entry[:-1] + bytes([entry[-1] ^ 1]))
            self.model[key].broken = not self.model[key].broken

    @rule(seconds=st.sampled_from([0.0, 1.0, 30.0, 120.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @rule(agent=st.sampled_from("ab"), everything=st.booleans())
    def take_out(self, agent: str, everything: bool) -> None:
        fitting = [key for key, known in self.model.items() if everything or known.agent == agent]

        taken = self.cache.clear() if everything else self.cache.invalidate(agent=agent)

        assert taken == len(fitting)
        for key in fitting:
            del self.model[key]

    @invariant()
    def what_is_accounted_is_what_is_stored(self) -> None:
        accounted = int(self.client.hget(SHARD.state, "bytes") or 0)
        assert accounted == sum(map(len, self.client.hvals(SHARD.entries)))
        assert accounted == sum(known.size for known in self.model.values())
        assert accounted <= LIMIT

    @invariant()
    def the_order_of_use_is_the_models(self) -> None:
        in_order = [key.decode() for key in self.client.zrange(SHARD.lru, 0, -1)]
        assert in_order == list(self.model)
        for kept in (self.client.hkeys(SHARD.entries), self.client.hkeys(SHARD.index)):
            assert {key.decode() for key in kept} == set(self.model)
        assert self.client.zcard(SHARD.expiry) == len(self.model)

    @rule()
    def count(self) -> None:
        stats = self.cache.stats()
        self._expire()
        assert {name: getattr(stats, name) for name in self.seen} == self.seen
        assert (stats.entries, stats.unpriced_hits) == (len(self.model), 0)
        assert stats.saved_nanos == 7 * (stats.hits + stats.stale_hits)


TestAccounts = LruWithByteLimit.TestCase
TestAccounts.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
