"""A hundred threads that need the same value read it once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.workflows.keyed_cache import KeyedCache


class Reader:
    """Reads slowly on request, and counts."""

    def __init__(self, fails=0):
        self.reads = []
        self.fails = fails
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()

    def __call__(self, key):
        with self._lock:
            self.reads.append(key)
            fails, self.fails = self.fails > 0, self.fails - 1
        assert self.gate.wait(10)
        if fails:
            raise LookupError(key)
        return key * 2


def test_a_value_is_read_once():
    read = Reader()
    cache = KeyedCache(read, size=4)

    assert [cache.get(3), cache.get(3)] == [6, 6]
    assert read.reads == [3]


def test_many_threads_that_want_the_same_value_read_it_once():
    read = Reader()
    read.gate.clear()
    cache = KeyedCache(read, size=4)
    with ThreadPoolExecutor(50) as pool:
        wanted = [pool.submit(cache.get, 3) for _ in range(50)]
        read.gate.set()

        assert [one.result(10) for one in wanted] == [6] * 50
    assert read.reads == [3]


def test_a_value_that_has_just_been_read_is_not_read_again_by_whoever_comes_then():
    """There is no moment between the end of a reading and its value being there."""
    cache = KeyedCache(Reader(), size=4)
    found = []

    class Spy(dict):
        def pop(self, key, *default):
            gone = super().pop(key, *default)
            found.append(key in cache._values)
            return gone

    cache._reading = Spy()
    cache.get(3)

    assert found == [True]


def test_threads_that_want_different_values_do_not_wait_for_each_other():
    begun, go_on = threading.Event(), threading.Event()

    def read(key):
        if key == "slow":
            begun.set()
            assert go_on.wait(10)
        return key

    cache = KeyedCache(read, size=4)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.get, "slow")
        assert begun.wait(10)

        assert cache.get("fast") == "fast"
        assert not slow.done()
        go_on.set()
        assert slow.result(10) == "slow"


def test_a_failed_read_is_not_remembered():
    read = Reader(fails=1)
    cache = KeyedCache(read, size=4)

    with pytest.raises(LookupError):
        cache.get(3)

    assert cache.get(3) == 6


def test_whoever_waited_for_a_read_that_failed_reads_for_itself():
    read = Reader(fails=1)
    read.gate.clear()
    cache = KeyedCache(read, size=4)
    with ThreadPoolExecutor(8) as pool:
        wanted = [pool.submit(cache.get, 3) for _ in range(8)]
        read.gate.set()
        errors = [one.exception(10) for one in wanted]

    assert sum(isinstance(error, LookupError) for error in errors) == 1
    assert sum(error is None for error in errors) == 7


def test_the_values_used_last_stay():
    read = Reader()
    cache = KeyedCache(read, size=2)

    for key in (1, 2, 1, 3, 1, 2):
        cache.get(key)

    assert read.reads == [1, 2, 3, 2]


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_a_cache_never_holds_more_than_its_size_and_never_gives_a_wrong_value(keys, size):
    cache = KeyedCache(Reader(), size=size)

    assert [cache.get(key) for key in keys] == [key * 2 for key in keys]
    assert len(cache._values) <= size
    assert not cache._reading
