"""The processor: first come, first served, and nobody waits for a thread that is stuck."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cf_workers.processor import Processor, blocking, sleep
from tests.support.waiting import eventually

PATIENCE = 60.0


class Actor:
    """A thread that takes a place, waits for something else, comes back and ends, each when it is told to."""

    def __init__(self, processor: Processor, name: str, log: list[str]) -> None:
        self._cues = {cue: threading.Event() for cue in ("step aside", "come back", "end")}
        self._processor = processor
        self._name = name
        self._log = log
        self.thread = threading.Thread(target=self._play, daemon=True)
        self.thread.start()

    def do(self, *cues: str) -> None:
        for cue in cues:
            self._cues[cue].set()

    def _play(self) -> None:
        with self._processor.use():
            self._log.append(f"{self._name} in")
            self._cues["step aside"].wait(PATIENCE)
            with blocking():
                self._log.append(f"{self._name} aside")
                self._cues["come back"].wait(PATIENCE)
            self._log.append(f"{self._name} back")
            self._cues["end"].wait(PATIENCE)
        self._log.append(f"{self._name} out")


class Stage:
    """A processor, and the threads that use it."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.processor = Processor(1, patience_seconds=PATIENCE)
        self._actors: list[Actor] = []

    def enters(self, name: str) -> Actor:
        """One that finds a place."""
        actor = self._start(name)
        self.sees(f"{name} in")
        return actor

    def queues(self, name: str) -> Actor:
        """One that has to wait."""
        waiting = self.processor.waiting
        actor = self._start(name)
        eventually(lambda: self.processor.waiting == waiting + 1, f"{name} to wait")
        return actor

    def sees(self, line: str) -> None:
        eventually(lambda: line in self.log, line)

    def _start(self, name: str) -> Actor:
        self._actors.append(Actor(self.processor, name, self.log))
        return self._actors[-1]

    def clear(self) -> None:
        for actor in self._actors:
            actor.do("step aside", "come back", "end")
        for actor in self._actors:
            actor.thread.join(PATIENCE)
        assert not any(actor.thread.is_alive() for actor in self._actors)


@pytest.fixture
def stage() -> Iterator[Stage]:
    it = Stage()
    yield it
    it.clear()


def test_as_many_threads_as_there_are_places_compute_at_once(stage: Stage) -> None:
    stage.processor = Processor(2, patience_seconds=PATIENCE)
    stage.enters("a")
    stage.enters("b")
    stage.queues("c")
    assert stage.log == ["a in", "b in"]


def test_who_waits_comes_in_the_order_of_coming(stage: Stage) -> None:
    first = stage.enters("a")
    others = {name: stage.queues(name) for name in "bcd"}
    first.do("step aside")
    for name, actor in others.items():
        stage.sees(f"{name} in")
        actor.do("step aside")
    assert [line for line in stage.log if line.endswith("in")] == ["a in", "b in", "c in", "d in"]


def test_who_comes_back_waits_behind_those_that_were_there(stage: Stage) -> None:
    first = stage.enters("a")
    second = stage.queues("b")
    third = stage.queues("c")
    first.do("step aside")
    stage.sees("b in")
    first.do("come back")
    eventually(lambda: stage.processor.waiting == 2, "a and c to wait")
    second.do("step aside")
    stage.sees("c in")
    third.do("step aside")
    stage.sees("a back")
    assert stage.log.index("c in") < stage.log.index("a back")


def test_who_waits_too_long_goes_on_in_place_of_the_one_that_is_stuck(stage: Stage) -> None:
    stage.processor = Processor(1, patience_seconds=0.05)
    stuck = stage.enters("stuck")
    stage.enters("b")
    stuck.do("step aside", "come back", "end")
    stage.sees("stuck aside")
    assert "b aside" not in stage.log


def test_the_end_of_one_whose_place_was_taken_lets_nobody_in(stage: Stage) -> None:
    stage.processor = Processor(1, patience_seconds=0.05)
    stuck = stage.enters("stuck")
    stage.enters("b")
    stage.processor.patience_seconds = PATIENCE
    stage.queues("c")
    stuck.do("step aside")
    stage.sees("stuck aside")
    assert stage.processor.waiting == 1
    assert "c in" not in stage.log


def test_one_whose_place_was_taken_waits_like_any_other_when_it_comes_back(stage: Stage) -> None:
    stage.processor = Processor(1, patience_seconds=0.05)
    stuck = stage.enters("stuck")
    second = stage.enters("b")
    stage.processor.patience_seconds = PATIENCE
    stuck.do("step aside", "come back")
    eventually(lambda: stage.processor.waiting == 1, "the stuck one to wait")
    second.do("step aside")
    stage.sees("stuck back")


def test_a_block_that_fails_gives_its_place_back() -> None:
    processor = Processor(1, patience_seconds=PATIENCE)
    with pytest.raises(ValueError, match="inside"), processor.use():
        raise ValueError("inside")
    with processor.use():
        assert processor.waiting == 0


def test_a_thread_without_a_place_need_not_step_blocking() -> None:
    with blocking():
        pass
    sleep(0.0)


def test_a_thread_that_sleeps_has_no_place(stage: Stage) -> None:
    entered = threading.Event()

    def sleeper() -> None:
        with stage.processor.use():
            entered.set()
            sleep(2.0)

    thread = threading.Thread(target=sleeper)
    thread.start()
    assert entered.wait(PATIENCE)
    stage.enters("a")
    stage.clear()
    thread.join(PATIENCE)
    assert not thread.is_alive()
