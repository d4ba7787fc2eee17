"""Of calls with one prompt prefix, one writes it; the others wait for the first word of its reply."""

import pytest

from cf_workers._redis import Keys
from cf_workers.prefixes import Cold, First, Prefixes, Wait, Warm, WarmingPolicy
from cf_workers.prefixes.prefixes import prefix_digest
from tests.support.time import scripted_server_time


@pytest.fixture
def server_time(monkeypatch):
    return scripted_server_time(monkeypatch)


@pytest.fixture
def prefixes(fake_redis, server_time):
    return Prefixes(fake_redis, Keys(), WarmingPolicy(longest_wait_seconds=10, ttl_seconds=100))


def approach(prefixes, name, prefix="p"):
    return prefixes.approach(prefix, holder=f"{name}\t1", waiter=name)


def test_the_first_to_come_goes_first_and_the_others_wait(prefixes):
    assert isinstance(approach(prefixes, "r\ta"), First)

    waiting = approach(prefixes, "r\tb")

    assert isinstance(waiting, Wait)
    assert prefixes.waits(waiting)


def test_all_who_wait_go_on_when_the_reply_begins(prefixes):
    approach(prefixes, "r\ta")
    waiting = [approach(prefixes, name) for name in ("r\tb", "r\tc")]

    assert prefixes.begun("p") == ["r\tb", "r\tc"]
    assert not any(prefixes.waits(one) for one in waiting)
    assert isinstance(approach(prefixes, "r\tb"), Warm)
    assert prefixes.begun("p") == []


def test_one_who_gets_no_reply_lets_the_next_go_first(prefixes):
    first = approach(prefixes, "r\ta")
    approach(prefixes, "r\tb")
    approach(prefixes, "r\tc")

    assert prefixes.give_way(first) == ["r\tb"]
    assert isinstance(approach(prefixes, "r\tb"), First)
    assert isinstance(approach(prefixes, "r\ta"), Wait)
    assert prefixes.give_way(first) == [], "another one goes first by now"


def test_nobody_waits_for_longer_than_the_longest_wait(prefixes, server_time):
    approach(prefixes, "r\ta")
    assert approach(prefixes, "r\tb").due == pytest.approx(server_time.seconds + 10, abs=0.01)

    server_time.advance(10.1)

    assert isinstance(approach(prefixes, "r\tb"), First)


def test_a_prefix_that_is_not_used_is_written_again(prefixes, server_time):
    prefixes.begun("p")
    server_time.advance(99)
    assert isinstance(approach(prefixes, "r\ta"), Warm)

    server_time.advance(2)

    assert isinstance(approach(prefixes, "r\ta"), First)


def test_nobody_waits_for_a_prefix_that_the_provider_does_not_keep(prefixes):
    approach(prefixes, "r\ta")
    approach(prefixes, "r\tb")

    assert prefixes.not_kept("p") == ["r\tb"]
    assert isinstance(approach(prefixes, "r\tc"), Cold)


def test_who_looks_for_itself_is_on_no_list(prefixes):
    approach(prefixes, "r\ta")

    waiting = prefixes.approach("p", holder="r\tb\t1")

    assert isinstance(waiting, Wait)
    assert not prefixes.waits(waiting)
    assert prefixes.begun("p") == []


def test_what_has_become_of_prefixes_is_seen_in_one_look(prefixes):
    approach(prefixes, "r\ta", prefix="written")
    prefixes.begun("read")
    prefixes.not_kept("refused")
    prefixes.give_way(approach(prefixes, "r\tb", prefix="given up"))

    assert prefixes.look(["written", "read", "refused", "given up"]) == {
        "written": "writing",
        "read": "warm",
        "refused": "cold",
        "given up": None,
    }


def test_prefixes_do_not_wait_for_each_other(prefixes):
    approach(prefixes, "r\ta")

    assert isinstance(approach(prefixes, "r\tb", prefix="q"), First)


def test_a_delimiter_inside_a_part_makes_no_two_prefixes_equal():
    assert len({prefix_digest("ab", "c"), prefix_digest("a", "bc"), prefix_digest("a", "b", "c")}) == 3
