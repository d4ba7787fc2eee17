from __future__ import annotations

import threading

import pytest

from cf_workers.reliability.threads import ThreadCrew
from tests.support import eventually


class Gate:
    """Jobs that run until they are let go."""

    def __init__(self, crew):
        self.crew = crew
        self.running = []
        self.open = threading.Semaphore(0)

    def job(self):
        self.running.append(threading.current_thread().name)
        self.open.acquire(timeout=10)

    def submit(self, count):
        for _ in range(count):
            self.crew.submit(self.job)

    def let_go(self, count):
        for _ in range(count):
            self.open.release()


@pytest.fixture
def crew():
    crew = ThreadCrew(2)
    yield crew
    crew.stop(lambda: False)


def test_no_more_jobs_run_at_once_than_the_limit_allows(crew):
    gate = Gate(crew)
    gate.submit(5)
    eventually(lambda: len(gate.running) == 2, "two jobs")
    assert crew.thread_count == 2

    gate.let_go(5)

    eventually(lambda: len(gate.running) == 5, "all jobs")
    assert crew.thread_count == 2


def test_an_idle_thread_is_used_again_before_another_is_started(crew):
    done = threading.Semaphore(0)
    for _ in range(5):
        crew.submit(done.release)
        assert done.acquire(timeout=5)
        eventually(lambda: crew.busy_count == 0, "the thread to be idle")

    assert crew.thread_count == 1


def test_a_raised_limit_takes_effect_on_jobs_that_wait(crew):
    gate = Gate(crew)
    gate.submit(4)
    eventually(lambda: len(gate.running) == 2, "two jobs")

    crew.resize(4)

    eventually(lambda: len(gate.running) == 4, "four jobs")
    gate.let_go(4)


def test_a_lowered_limit_lets_running_jobs_finish_and_sends_threads_away(crew):
    gate = Gate(crew)
    gate.submit(3)
    eventually(lambda: len(gate.running) == 2, "two jobs")

    crew.resize(1)
    gate.let_go(2)

    eventually(lambda: len(gate.running) == 3 and crew.thread_count == 1, "one thread")
    gate.let_go(1)


def test_a_limit_of_nothing_keeps_jobs_until_it_is_raised():
    crew = ThreadCrew(0)
    done = threading.Event()
    crew.submit(done.set)
    assert crew.thread_count == 0

    crew.resize(1)

    assert done.wait(5)
    crew.stop(lambda: True)


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt, MemoryError])
def test_a_job_that_raises_costs_no_thread(crew, error):
    def fail():
        raise error

    done = threading.Event()
    for _ in range(4):
        crew.submit(fail)
    crew.submit(done.set)

    assert done.wait(5)


def test_stopping_waits_for_running_jobs_and_drops_the_others(crew):
    gate = Gate(crew)
    gate.submit(5)
    eventually(lambda: len(gate.running) == 2, "two jobs")
    gate.let_go(2)

    assert crew.stop(lambda: True)

    assert len(gate.running) == 2
    assert not crew.submit(gate.job)
    eventually(lambda: crew.thread_count == 0, "the threads to leave")


def test_stopping_gives_up_when_it_may_not_wait(crew):
    gate = Gate(crew)
    gate.submit(1)
    eventually(lambda: len(gate.running) == 1, "the job")

    assert not crew.stop(lambda: False)
    gate.let_go(1)


def test_stopping_may_interrupt_stopping(crew):
    """A second signal's handler runs inside the first one's wait."""
    gate = Gate(crew)
    gate.submit(1)
    eventually(lambda: len(gate.running) == 1, "the job")
    nested = []

    def may_wait():
        if not nested:
            nested.append(crew.stop(lambda: False))
        return False

    assert not crew.stop(may_wait)
    assert nested == [False]
    gate.let_go(1)
