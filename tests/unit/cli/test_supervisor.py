"""Several processes run as one: what dies is started again, and all are stopped in order."""

import os
import signal
import sys
import threading

import pytest

from cf_workers.cli.supervisor import Program, Supervisor, SupervisorPolicy
from tests.support.waiting import eventually

LIVES = "import signal; print('up and running', flush=True); signal.pause()"
DRAINS = """
import signal, threading
asked = threading.Event()
told = []
def ask(*_):
    told.append(1)
    print("asked", len(told), flush=True)
    if len(told) > 1:
        raise SystemExit(3)
signal.signal(signal.SIGTERM, ask)
print("up and running", flush=True)
while True:
    signal.pause()
"""
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up and running', flush=True)\n"
DEAF += "while True: signal.pause()"
DIES_AT_ONCE = "print('no such setting'); raise SystemExit(2)"
DIES_LATER = "print('up and running', flush=True); raise SystemExit(1)"


class Stack:
    """A supervisor in a thread, and what it has said."""

    def __init__(self):
        self.said = []
        self.ready = threading.Event()
        self.ended = None
        self.supervisor = None

    def start(self, *programs, **policy):
        self.supervisor = Supervisor(
            [program(*one) if isinstance(one, tuple) else one for one in programs],
            lambda name, line: self.said.append((name, line)),
            on_ready=self.ready.set,
            policy=SupervisorPolicy(**policy),
        )
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def _run(self):
        self.ended = self.supervisor.run()

    def stop(self):
        self.supervisor.ask_to_stop()

    def outcome(self):
        self._thread.join(60)
        assert not self._thread.is_alive(), self.said
        return self.ended

    def lines(self, name="up"):
        return [line for who, line in self.said if who == name]

    def eventually_says(self, text, times=1):
        eventually(lambda: sum(text in line for _, line in self.said) >= times, text, timeout=60)


def program(name, text, stage=0, drains=False):
    return Program(name, [sys.executable, "-c", text], os.environ, "up and running", stage, drains)


@pytest.fixture
def stack():
    made = Stack()
    yield made
    for _ in range(3):
        made.stop()
    made.outcome()


def test_all_run_and_are_stopped_stage_by_stage(stack):
    stack.start(("a", LIVES, 1), ("b", LIVES, 0), ("c", LIVES, 2))
    assert stack.ready.wait(60)

    stack.stop()

    assert stack.outcome() == "stopped"
    assert stack.lines() == ["stopping b", "stopping a", "stopping c"]
    assert stack.lines("a") == ["up and running"]


def test_what_drains_is_waited_for_before_the_next_stage_is_stopped(stack):
    stack.start(("worker", DRAINS, 0, True), ("beat", LIVES, 1), stop_seconds=0.2)
    assert stack.ready.wait(60)
    stack.stop()
    stack.eventually_says("asked 1")
    assert "stopping beat" not in stack.lines()

    stack.stop()

    assert stack.outcome() == "hurried"
    assert "asked 2" in stack.lines("worker")
    assert "stopping everything at once" in stack.lines()


def test_what_does_not_stop_is_killed(stack):
    stack.start(("deaf", DEAF), stop_seconds=0.2)
    assert stack.ready.wait(60)

    stack.stop()

    assert stack.outcome() == "stopped"
    assert "deaf does not stop: killing it" in stack.lines()


def test_what_dies_after_it_has_started_is_started_again_with_its_last_words_told(stack):
    stack.start(("a", LIVES), ("b", LIVES))
    assert stack.ready.wait(60)

    os.kill(stack.supervisor._running["a"]._popen.pid, signal.SIGKILL)
    stack.eventually_says("up and running", times=4)  # three starts, and the last words
    stack.stop()

    assert stack.outcome() == "stopped"
    assert stack.lines()[:3] == [
        "a was killed by SIGKILL; it said last:",
        "    up and running",
        "starting a again",
    ]


def test_what_never_starts_stops_everything(stack):
    stack.start(("good", LIVES), ("bad", DIES_AT_ONCE))

    assert stack.outcome() == "broken"
    assert "bad ended with exit code 2; it said last:" in stack.lines()
    assert "    no such setting" in stack.lines()
    assert "bad did not start: stopping everything" in stack.lines()


def test_what_keeps_dying_stops_everything(stack):
    stack.start(("bad", DIES_LATER), restarts=2)

    assert stack.outcome() == "broken"
    assert stack.lines().count("starting bad again") == 2
    assert "died again, after 2 deaths" in stack.lines()[-1]


def test_a_third_request_kills(stack):
    stack.start(("worker", DEAF, 0, True))
    assert stack.ready.wait(60)

    stack.stop()
    stack.eventually_says("stopping worker")
    stack.stop()
    stack.eventually_says("stopping everything at once")
    stack.stop()

    assert stack.outcome() == "hurried"


def test_nothing_of_it_is_left_behind_after_an_error(stack):
    def fail():
        raise RuntimeError("the reader of the log has failed")

    supervisor = Supervisor([program("a", LIVES)], lambda *_: None, on_ready=fail)
    stack.supervisor = supervisor
    stack._thread = threading.Thread(target=lambda: None)
    stack._thread.start()

    with pytest.raises(RuntimeError):
        supervisor.run()

    assert not any(process.running for process in supervisor._running.values())
