"""Who makes a call that many want at the same time?"""

from __future__ import annotations

import threading

import pytest

from cf_workers._redis import Keys
from cf_workers.cache import Alone, Cache, Failed, Follow, Hit, Landed, Lead
from cf_workers.cache.secret import GivenSecret
from cf_workers.cache.single_flight import Renewal
from tests.support import eventually

PERMANENT_KEYS = ("cfw:cache:{*}:counters",)

CALL = "c" * 64


@pytest.fixture
def join(cache):
    """Ask for a standing, as the attempt and the step of that name."""
    return lambda name, key=CALL: cache.seek(key, holder=f"attempt-{name}", waiter=name)


@pytest.fixture
def land(cache):
    """Land with an answer, as this leader."""
    return lambda lead: cache.complete(lead, "answer", tags={}, cost_nanos=None)


def test_the_first_to_ask_leads_and_the_others_follow_until_the_end_of_its_lease(join, clock):
    assert join("a") == Lead(CALL, "attempt-a", until=clock.now() + 10)
    assert join("b") == Follow(CALL, "b", due=clock.now() + 10)
    assert join("c") == Follow(CALL, "c", due=clock.now() + 10)


def test_different_calls_have_leaders_of_their_own(join):
    assert isinstance(join("a"), Lead)
    assert isinstance(join("b", "d" * 64), Lead)


def test_a_leader_that_asks_again_still_leads(join):
    join("a")

    assert isinstance(join("a"), Lead)


def test_a_leader_that_lands_gets_everybody_who_waits_in_the_order_of_arrival(land, join, clock):
    lead = join("z")
    for name in ("c", "a", "b"):
        clock.sleep(0.1)
        join(name)

    assert land(lead) == Landed(kept=True, waiters=["c", "a", "b"])
    assert [join(name).document for name in ("c", "a")] == ["answer", "answer"]
    assert land(lead) == Landed(kept=True, waiters=[])


def test_who_comes_after_the_answer_was_stored_gets_it_at_once(land, join):
    land(join("a"))

    assert join("b") == Hit("answer", 0.0)


def test_who_finds_the_answer_when_it_was_told_of_a_failure_too_gets_the_answer(cache, join):
    lead = join("a")
    join("b")
    cache.fail(lead, {"type": "CallRejectedError", "message": "too long"})
    cache.store(CALL, "answer", tags={}, cost_nanos=None)

    assert isinstance(join("b"), Hit)


def test_an_answer_that_is_too_large_to_be_kept_lets_each_waiter_call_for_itself(make_cache):
    cache = make_cache(max_bytes=100)
    lead, _ = (cache.seek(CALL, holder=name, waiter=name) for name in "ab")

    landed = cache.complete(lead, "answer" * 100, tags={}, cost_nanos=None)

    assert landed == Landed(kept=False, waiters=["b"])
    assert cache.seek(CALL, holder="b", waiter="b") == Alone()


def test_who_makes_a_call_has_missed_and_who_follows_has_not(cache, land, join):
    lead = join("a")
    join("b")
    land(lead)
    join("b")
    cache.abandon(join("c", "d" * 64))
    cache.abandon(join("c", "d" * 64), called=True)
    cache.disperse(join("c", "d" * 64))
    cache.fail(join("c", "d" * 64), {})

    assert (cache.stats().hits, cache.stats().misses) == (1, 4)


def test_an_entry_that_was_changed_is_taken_out_and_its_call_is_made_again(cache, join, fake_redis):
    cache.store(CALL, "answer", tags={}, cost_nanos=None)
    entries = Keys().cache_shard(0).entries
    entry = fake_redis.hget(entries, CALL)
    fake_redis.hset(entries, CALL, entry[:-1] + bytes([entry[-1] ^ 1]))

    assert isinstance(join("a"), Lead)
    assert not fake_redis.hexists(entries, CALL)
    assert (cache.stats().hits, cache.stats().misses, cache.stats().integrity_failures) == (0, 0, 1)


def test_without_a_clock_of_its_own_a_leader_dates_its_answer_by_the_server(fake_redis):
    cache = Cache(fake_redis, Keys(), GivenSecret(b"s"))
    before = fake_redis.time()[0]
    cache.complete(cache.seek(CALL, holder="h", waiter="w"), "answer", tags={}, cost_nanos=None)

    assert before - 1 <= cache.inspect(CALL).created_at <= fake_redis.time()[0] + 1


def test_an_answer_past_its_time_to_live_is_not_given(make_cache, clock):
    cache = make_cache(ttl_seconds=5)
    cache.store(CALL, "answer", tags={}, cost_nanos=None)
    clock.sleep(5)

    assert isinstance(cache.seek(CALL, holder="h", waiter="w"), Lead)


def test_when_the_leader_dies_the_first_to_look_after_its_lease_takes_over(join, clock):
    join("a")
    due = join("b").due
    join("c")

    clock.time = due - 0.01
    assert isinstance(join("b"), Follow)
    clock.time = due
    taken = join("b")
    assert (taken.holder, taken.took_over) == ("attempt-b", True)
    assert isinstance(join("c"), Follow)


def test_a_leader_that_renews_is_not_taken_over(cache, join, clock):
    lead = join("a")
    for _ in range(5):
        clock.sleep(6)
        assert cache.flights.renew([lead]) == []
        assert isinstance(join("b"), Follow)


def test_a_leader_that_was_taken_over_hears_of_it_and_wakes_nobody(cache, land, join, clock):
    lost = join("a")
    clock.sleep(10)
    taken = join("b")
    join("c")

    assert cache.flights.renew([lost, taken]) == [lost]
    assert land(lost).waiters == []
    assert land(taken).waiters == ["c"]


def test_a_leader_that_was_cancelled_fails_nobody_and_the_longest_waiting_leads_next(
    cache, land, join, clock
):
    lead = join("a")
    for name in ("b", "c", "d"):
        clock.sleep(0.1)
        join(name)

    assert cache.abandon(lead) == ["b"]
    following = join("b")
    assert isinstance(following, Lead)
    assert land(following).waiters == ["c", "d"]


def test_if_the_next_leader_never_comes_the_others_lead_when_they_look_again(cache, join, clock):
    lead = join("a")
    join("b")
    due = join("c").due
    cache.abandon(lead)

    clock.time = due
    assert isinstance(join("c"), Lead)


def test_a_failure_that_any_such_call_would_meet_is_told_to_those_who_waited_and_to_nobody_else(cache, join):
    lead = join("a")
    join("b")
    failure = {"type": "CallRejectedError", "message": "too long"}

    assert cache.fail(lead, failure) == ["b"]
    assert join("b") == Failed(failure)
    assert isinstance(join("newcomer"), Lead)
    assert isinstance(join("b"), Follow)


def test_after_an_answer_that_cannot_be_shared_each_waiter_calls_for_itself(cache, join):
    lead = join("a")
    join("b")
    join("c")

    assert cache.disperse(lead) == ["b", "c"]
    assert join("b") == join("c") == Alone()


def test_who_parked_too_late_to_be_woken_finds_out(cache, land, join):
    lead = join("a")
    follow = join("b")

    assert cache.waits(follow)
    land(lead)
    assert not cache.waits(follow)


def test_who_leaves_is_not_woken(cache, land, join):
    lead = join("a")
    join("b")
    join("c")
    cache.leave(CALL, "b")

    assert land(lead).waiters == ["c"]


def test_with_the_cache_off_everybody_calls_alone(make_cache):
    assert make_cache(enabled=False).seek(CALL, holder="h", waiter="w") == Alone()


def test_a_lease_is_renewed_for_as_long_as_the_leader_works_and_not_longer():
    lead, renewed = Lead(CALL, "h", 0.0), []
    renewal = Renewal(renewed.extend, lease_seconds=0.06)

    with renewal.holding(lead):
        eventually(lambda: len(renewed) >= 3, "three renewals")
    eventually(lambda: not any(t.name == "cache-renewal" for t in threading.enumerate()), "the thread to end")
    count = len(renewed)

    with renewal.holding(Lead(CALL, "h2", 0.0)):
        eventually(lambda: len(renewed) > count, "a renewal after a pause")
    assert renewed[:count] == [lead] * count
    assert {each.holder for each in renewed[count:]} == {"h2"}
