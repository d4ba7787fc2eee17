"""Each process has one runtime of its own, made when it is first needed."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cf_workers.tasks import runtime


@pytest.fixture(autouse=True)
def nothing_installed():
    before = (runtime._factory, runtime._current)
    runtime._factory = runtime._current = None
    yield
    runtime._factory, runtime._current = before


def test_without_a_composition_root_there_is_no_runtime():
    with pytest.raises(RuntimeError, match=r"import cf_workers\.celery first"):
        runtime.current()


def test_the_runtime_is_made_when_first_needed_and_then_kept():
    made = []
    runtime.install(lambda: made.append("one") or object())

    assert made == []
    assert runtime.current() is runtime.current()
    assert made == ["one"]


def test_a_hundred_threads_get_the_same_one():
    made = []
    together = threading.Barrier(20)
    runtime.install(lambda: made.append(1) or object())

    def ask(_):
        together.wait(10)
        return runtime.current()

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(ask, range(20)))

    assert len(made) == 1
    assert len(set(map(id, found))) == 1


def test_a_forked_process_makes_its_own(monkeypatch):
    runtime.install(object)
    parents = runtime.current()

    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)

    childs = runtime.current()
    assert childs is not parents
    assert runtime.current() is childs


def test_installing_again_forgets_what_was_made():
    runtime.install(lambda: "first")
    runtime.current()

    runtime.install(lambda: "second")

    assert runtime.current() == "second"
