"""Where are answers kept, and how do they stay within their limit?"""

from __future__ import annotations

import pytest

from cf_workers._redis import Keys
from cf_workers.cache import Hit, Miss
from cf_workers.errors import InputError

PERMANENT_KEYS = ("cfw:cache:{*}:counters", "cfw:cache:secret")

HOUR = 3600.0
SHARD = Keys().cache_shard(0)


@pytest.fixture
def put(cache, key_of):
    def put(name, document="an answer", *, into=cache, cost_nanos=1_000, **tags):
        return into.store(key_of(name), document, tags=tags, cost_nanos=cost_nanos)

    return put


def accounted(client) -> int:
    return int(client.hget(SHARD.state, "bytes") or 0)


def stored(client) -> int:
    return sum(map(len, client.hvals(SHARD.entries)))


def test_an_answer_is_found_under_its_key_and_no_other(cache, put, key_of, clock):
    put("a", {"output": "A", "n": 1})
    clock.sleep(90)

    assert cache.lookup(key_of("a")) == Hit({"output": "A", "n": 1}, 90.0, saved_nanos=1_000)
    assert cache.lookup(key_of("b")) == Miss("absent")


def test_an_overwritten_answer_is_seen_by_every_process_at_once(make_cache, put, key_of, fake_redis):
    put("a", "old")
    put("a", "new and longer", into=make_cache())

    assert make_cache().lookup(key_of("a")).document == "new and longer"
    assert accounted(fake_redis) == stored(fake_redis)
    assert fake_redis.hlen(SHARD.entries) == 1


def test_an_answer_is_given_up_to_a_fraction_of_an_hour_and_not_longer(make_cache, put, key_of, clock):
    cache = make_cache(ttl_seconds=0.01 * HOUR, stale_seconds=0)
    put("a", into=cache)

    clock.sleep(35.9)
    assert isinstance(cache.lookup(key_of("a")), Hit)
    clock.sleep(0.1)
    assert cache.lookup(key_of("a")) == Miss("absent")
    assert cache.stats().entries == 0


def test_a_stale_answer_is_given_only_when_asked_for_and_says_so(make_cache, put, key_of, clock):
    cache = make_cache(ttl_seconds=HOUR, stale_seconds=2 * HOUR)
    put("a", into=cache)
    clock.sleep(HOUR)

    assert cache.lookup(key_of("a")) == Miss("absent")
    stale = cache.lookup(key_of("a"), allow_stale=True)
    assert (stale.stale, stale.age_seconds) == (True, HOUR)
    clock.sleep(2 * HOUR)
    assert cache.lookup(key_of("a"), allow_stale=True) == Miss("absent")
    assert cache.stats().entries == 0


def test_a_reader_with_a_shorter_time_to_live_takes_nothing_from_the_others(make_cache, put, key_of, clock):
    patient = make_cache(ttl_seconds=10 * HOUR)
    hasty = make_cache(ttl_seconds=HOUR, stale_seconds=0)
    put("a", into=patient)
    clock.sleep(2 * HOUR)

    assert hasty.lookup(key_of("a")) == Miss("absent")
    assert hasty.lookup(key_of("a"), allow_stale=True) == Miss("absent")
    assert isinstance(patient.lookup(key_of("a")), Hit)


def size_of_one(put, fake_redis) -> int:
    """Bytes of an entry with a document of 100 characters, on a server that is empty afterwards."""
    put("probe", "x" * 100)
    size = stored(fake_redis)
    fake_redis.flushall()
    return size


def test_the_touched_answer_stays_and_the_untouched_oldest_goes(make_cache, put, key_of, fake_redis):
    cache = make_cache(max_bytes=10 * size_of_one(put, fake_redis))
    for number in range(10):
        put(number, "x" * 100, into=cache)
    cache.lookup(key_of(0))

    put("one more", "x" * 100, into=cache)

    gone = [number for number in range(10) if isinstance(cache.lookup(key_of(number)), Miss)]
    assert gone == [1]


def test_one_byte_over_the_limit_evicts_exactly_one_answer(make_cache, put, key_of, fake_redis):
    size = size_of_one(put, fake_redis)
    cache = make_cache(max_bytes=5 * size + size - 1)
    for number in range(5):
        put(number, "x" * 100, into=cache)

    put("sixth", "x" * 100, into=cache)

    assert cache.stats().evictions == 1
    assert cache.lookup(key_of(0)) == Miss("absent")
    assert all(isinstance(cache.lookup(key_of(number)), Hit) for number in (1, 2, 3, 4, "sixth"))


def test_an_answer_larger_than_the_limit_is_refused_alone(make_cache, put, key_of):
    cache = make_cache(max_bytes=2_000, compress_above_bytes=10**9)
    put("small", into=cache)

    assert put("large", "x" * 2_001, into=cache) is False
    assert put("small", "x" * 2_001, into=cache) is False
    assert isinstance(cache.lookup(key_of("small")), Hit)
    assert (cache.stats().refused, cache.stats().evictions) == (2, 0)


def test_a_document_above_the_bound_is_refused_even_if_it_packs_well(make_cache, put):
    cache = make_cache(max_document_bytes=10_000)

    assert put("bomb", "0" * 10_001, into=cache) is False


def test_a_lowered_limit_holds_from_the_next_answer_on(make_cache, put, fake_redis):
    for number in range(20):
        put(number, "x" * 100)

    put("last", "x" * 100, into=make_cache(max_bytes=1_000))

    assert accounted(fake_redis) == stored(fake_redis) <= 1_000


def _flip_last(entry):
    return entry[:-1] + bytes([entry[-1] ^ 1])


TAMPERED = {
    "a byte of the document flipped": lambda entry: entry.replace(b"answer", b"Answer"),
    "a byte of the signature flipped": _flip_last,
    "the cost changed": lambda entry: entry.replace(b" 1000 plain", b" 9999 plain"),
    "the cost made unknown": lambda entry: entry.replace(b" 1000 plain", b" - plain"),
    "an absurd cost": lambda entry: entry.replace(b" 1000 plain", b" " + b"9" * 40 + b" plain"),
    "a cost that is no number": lambda entry: entry.replace(b" 1000 plain", b" 1e3 plain"),
    "the life prolonged": lambda entry: entry.replace(b"2 17", b"2 97", 1),
    "the signature removed": lambda entry: entry[:-32],
    "the head removed": lambda entry: entry.split(b"\n", 1)[1],
    "emptied": lambda entry: b"",
    "replaced": lambda entry: b'{"output": "trust me"}',
}


@pytest.mark.parametrize("how", TAMPERED)
def test_an_entry_that_was_tampered_with_is_a_miss_counted_and_gone(how, cache, put, key_of, fake_redis):
    put("a")
    put("b")
    key = key_of("a")
    changed = TAMPERED[how](fake_redis.hget(SHARD.entries, key))
    assert fake_redis.hset(SHARD.entries, key, changed) == 0

    assert cache.lookup(key) == Miss("absent")

    assert not fake_redis.hexists(SHARD.entries, key)
    assert accounted(fake_redis) == stored(fake_redis)
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.integrity_failures) == (0, 1, 1)
    assert (stats.saved_nanos, stats.unpriced_hits, stats.entries) == (0, 0, 1)


def test_an_entry_copied_to_another_key_is_a_miss_counted_and_gone(cache, put, key_of, fake_redis):
    put("a")
    put("b", "another answer")
    fake_redis.hset(SHARD.entries, key_of("b"), fake_redis.hget(SHARD.entries, key_of("a")))

    assert cache.lookup(key_of("b")) == Miss("absent")
    assert isinstance(cache.lookup(key_of("a")), Hit)
    assert cache.stats().integrity_failures == 1
    assert accounted(fake_redis) == stored(fake_redis)


def test_a_tampered_stale_entry_takes_back_what_it_had_counted(make_cache, put, key_of, clock, fake_redis):
    cache = make_cache(ttl_seconds=10)
    put("a", into=cache)
    clock.sleep(11)
    cache.lookup(key_of("a"))
    fake_redis.hset(SHARD.entries, key_of("a"), _flip_last(fake_redis.hget(SHARD.entries, key_of("a"))))

    assert cache.lookup(key_of("a"), allow_stale=True) == Miss("absent")
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.stale_hits, stats.saved_nanos) == (0, 1, 0, 0)


def test_an_entry_that_somebody_deleted_is_accounted_out_when_it_is_missed(cache, put, key_of, fake_redis):
    put("a")
    put("b")
    fake_redis.hdel(SHARD.entries, key_of("a"))

    assert cache.lookup(key_of("a")) == Miss("absent")
    assert accounted(fake_redis) == stored(fake_redis)
    assert fake_redis.zcard(SHARD.lru) == 1


def test_entries_whose_time_is_over_leave_the_accounts_when_others_are_stored(
    make_cache, put, clock, fake_redis
):
    cache = make_cache(ttl_seconds=10, stale_seconds=0)
    for number in range(50):
        put(number, into=cache)
    clock.sleep(10)

    put("new", into=cache)
    assert fake_redis.hlen(SHARD.entries) == 31
    put("newer", into=cache)
    put("newest", into=cache)
    assert fake_redis.hlen(SHARD.entries) == 3
    assert accounted(fake_redis) == stored(fake_redis)


def test_the_numbers_are_those_of_the_whole_fleet(make_cache, put, key_of):
    one, other = make_cache(), make_cache()
    put("a", into=one, cost_nanos=2_000_000)
    put("b", into=one, cost_nanos=None)
    one.lookup(key_of("a"))
    other.lookup(key_of("a"))
    other.lookup(key_of("b"))
    other.lookup(key_of("c"))

    stats = one.stats()

    assert stats == other.stats()
    assert (stats.hits, stats.misses, stats.hit_rate, stats.stores) == (3, 1, 0.75, 2)
    assert (stats.saved_nanos, stats.saved_usd, stats.unpriced_hits) == (4_000_000, 0.004, 1)
    assert stats.as_dict()["hit_rate"] == 0.75


def test_nothing_looked_up_has_no_hit_rate(cache):
    assert cache.stats().hit_rate is None


def test_after_a_clear_nobody_finds_anything(make_cache, put, key_of):
    cache = make_cache(shards=3)
    for number in range(30):
        put(number, into=cache)

    assert cache.clear() == 30

    assert all(make_cache(shards=3).lookup(key_of(number)) == Miss("absent") for number in range(30))
    assert (cache.stats().entries, cache.stats().bytes) == (0, 0)


def test_answers_are_invalidated_by_agent_workflow_model_and_age(cache, put, key_of, clock):
    put("old", agent="reviewer", workflow="ci", model="opus")
    clock.sleep(100)
    put("a", agent="reviewer", workflow="ci", model="haiku")
    put("b", agent="reviewer", workflow="docs", model="opus")
    put("c", agent="writer", model="opus")

    assert cache.invalidate(older_than_seconds=50) == 1
    assert cache.invalidate(agent="reviewer", model="haiku") == 1
    assert cache.invalidate(workflow="ci") == 0
    assert cache.invalidate(agent="nobody") == 0
    assert isinstance(cache.lookup(key_of("b")), Hit)
    assert cache.invalidate(model="opus") == 2
    assert (cache.stats().entries, cache.stats().bytes) == (0, 0)


def test_many_answers_are_invalidated_in_batches_to_the_last_one(make_cache, put):
    cache = make_cache(shards=2)
    for number in range(1_300):
        put(number, into=cache, agent="even" if number % 2 == 0 else "odd")

    assert cache.invalidate(agent="odd") == 650
    assert cache.stats().entries == 650


def test_invalidating_nothing_in_particular_is_refused(cache):
    with pytest.raises(InputError, match="what to invalidate"):
        cache.invalidate()


def test_an_entry_is_shown_without_its_answer_and_without_being_used(cache, put, key_of, clock):
    put("a", {"output": "private"}, agent="reviewer")
    clock.sleep(5)

    shown = cache.inspect(key_of("a"))

    assert (shown.age_seconds, shown.stale, shown.tags) == (5.0, False, {"agent": "reviewer"})
    assert shown.cost_nanos == 1_000
    assert "private" not in repr(shown)
    assert cache.inspect(key_of("a"), content=True).document == {"output": "private"}
    assert cache.inspect(key_of("b")) is None
    assert (cache.stats().hits, cache.stats().misses) == (0, 0)


@pytest.mark.parametrize("key", ["", "abc", "A" * 64, "g" * 64])
def test_only_a_fingerprint_can_be_inspected(cache, key):
    with pytest.raises(InputError, match="not the key"):
        cache.inspect(key)


def test_each_shard_keeps_to_its_share(make_cache, put, fake_redis):
    cache = make_cache(shards=4, max_bytes=8_000)
    for number in range(200):
        put(number, "x" * 100, into=cache)

    shares = [int(fake_redis.hget(Keys().cache_shard(shard).state, "bytes")) for shard in range(4)]
    assert all(0 < share <= 2_000 for share in shares)
    assert cache.stats().bytes == sum(shares) > 7_000


@pytest.mark.parametrize("document", [object(), float("nan"), {1, 2}])
def test_what_is_not_json_cannot_be_stored(cache, key_of, document):
    with pytest.raises((TypeError, ValueError)):
        cache.store(key_of("a"), document, tags={}, cost_nanos=None)


@pytest.mark.parametrize("cost", [-1, 10**15])
def test_a_cost_out_of_range_cannot_be_stored(cache, key_of, cost):
    with pytest.raises(ValueError, match="cost_nanos"):
        cache.store(key_of("a"), "x", tags={}, cost_nanos=cost)
