"""How do several processes run as one: one log, restarted when they die, stopped in order?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal

LOOK_AGAIN = 0.05
LAST_LINES = 10

Say = Callable[[str, str], None]
"""Told a line, with the name of the process that wrote it."""


@dataclass(frozen=True)
class Program:
    """What a process runs.

    Args:
        ready: a text in its output that says that it has started.
        stage: processes of a lower stage are stopped first, and waited for.
        drains: it is given as long as it takes to stop.
    """

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    ready: str
    stage: int = 0
    drains: bool = False


@dataclass(frozen=True)
class SupervisorPolicy:
    """When is a process given up, and how long may it take to end?

    Args:
        restarts: so many within `within_seconds`, and one more death stops everything.
        started_after_seconds: a process that lives so long has started, whatever it has said.
        stop_seconds: for what does not drain, and for what must stop at once.
    """

    restarts: int = 5
    within_seconds: float = 60.0
    started_after_seconds: float = 30.0
    stop_seconds: float = 10.0


Ended = Literal["stopped", "hurried", "broken"]


class Supervisor:
    """Runs programs until it is asked to stop, or until one of them cannot be kept running.

    A process that dies after it has started is started again. One that never starts would not the next time
    either: everything is stopped.

    Args:
        say: prints a line.
        on_ready: called once, when every program has started.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        say: Say,
        *,
        name: str = "up",
        on_ready: Callable[[], None] = lambda: None,
        policy: SupervisorPolicy | None = None,
    ) -> None:
        self._programs = programs
        self._say = say
        self._name = name
        self._on_ready = on_ready
        self._policy = policy or SupervisorPolicy()
        self._running: dict[str, _Process] = {}
        self._restarted: deque[float] = deque()
        self._asked = 0

    def ask_to_stop(self) -> None:
        """Stop in order; asked a second time, stop at once; a third time, kill."""
        self._asked += 1

    def run(self) -> Ended:
        """Returns when everything has ended.

        Returns:
            `stopped` in order, `hurried` by a second request, or `broken` because of a process.
        """
        with _asking(self.ask_to_stop):
            try:
                sound = self._keep_running()
                self._stop()
            finally:
                for process in self._running.values():
                    process.kill()
        return "broken" if not sound else "hurried" if self._asked > 1 else "stopped"

    def _keep_running(self) -> bool:
        """Until asked to stop; false when a process cannot be kept running."""
        for program in self._programs:
            self._running[program.name] = _Process(program, self._say)
        told = False
        while not self._asked:
            for process in self._running.values():
                if not process.running and not self._start_again(process):
                    return False
            if not told and all(self._has_started(process) for process in self._running.values()):
                told = True
                self._on_ready()
            time.sleep(LOOK_AGAIN)
        return True

    def _start_again(self, process: _Process) -> bool:
        """Say how a process ended, and start it again unless that is of no use."""
        name, started = process.program.name, self._has_started(process)
        process.kill()
        self._tell(f"{name} {process.how_it_ended}; it said last:")
        for line in process.last_lines:
            self._tell(f"    {line}")
        if not started:
            self._tell(f"{name} did not start: stopping everything")
            return False
        now = time.monotonic()
        while self._restarted and now - self._restarted[0] > self._policy.within_seconds:
            self._restarted.popleft()
        if len(self._restarted) >= self._policy.restarts:
            seconds = self._policy.within_seconds
            self._tell(
                f"{name} died again, after {len(self._restarted)} deaths within {seconds:g} s: stopping"
            )
            return False
        self._restarted.append(now)
        self._tell(f"starting {name} again")
        self._running[name] = _Process(process.program, self._say)
        return True

    def _has_started(self, process: _Process) -> bool:
        return process.ready.is_set() or process.age > self._policy.started_after_seconds

    def _stop(self) -> None:
        """Stage by stage, or all of them at once when in a hurry."""
        for stage in sorted({program.stage for program in self._programs}):
            stopping = [one for one in self._running.values() if one.program.stage == stage and one.running]
            for process in stopping:
                more = ", which ends what it has begun; Ctrl-C again stops it at once"
                self._tell(f"stopping {process.program.name}{more if process.program.drains else ''}")
                process.send(signal.SIGTERM)
            self._wait(stopping)

    def _wait(self, stopping: Sequence[_Process]) -> None:
        asked = max(1, self._asked)
        began = time.monotonic()
        while any(process.running for process in stopping):
            if self._asked > asked:
                self._hurry()
                return
            late = time.monotonic() - began > self._policy.stop_seconds
            for process in stopping:
                if late and process.running and not process.program.drains:
                    self._tell(f"{process.program.name} does not stop: killing it")
                    process.kill()
            time.sleep(LOOK_AGAIN)

    def _hurry(self) -> None:
        """A second request to stop makes a worker give back what it has begun."""
        self._tell("stopping everything at once")
        left = [process for process in self._running.values() if process.running]
        for process in left:
            process.send(signal.SIGTERM)
        deadline, asked = time.monotonic() + self._policy.stop_seconds, self._asked
        while any(process.running for process in left):
            if time.monotonic() > deadline or self._asked > asked:
                return  # what is left is killed
            time.sleep(LOOK_AGAIN)

    def _tell(self, line: str) -> None:
        self._say(self._name, line)


class _Process:
    """One life of a program, in a process group of its own; it ends when this process does."""

    def __init__(self, program: Program, say: Say) -> None:
        self.program = program
        self.ready = threading.Event()
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._say = say
        self._began = time.monotonic()
        self._popen = subprocess.Popen(  # noqa: S603
            program.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(program.environ),
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"{program.name}-log", daemon=True)
        self._reader.start()

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def age(self) -> float:
        return time.monotonic() - self._began

    @property
    def last_lines(self) -> list[str]:
        return list(self._lines) or ["nothing"]

    @property
    def how_it_ended(self) -> str:
        code = self._popen.returncode
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(number)

    def kill(self) -> None:
        """End it and its children at once, and take in what it said last; safe when it has ended."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        self._reader.join(timeout=2)  # a child of its own may hold the pipe open

    def _read(self) -> None:
        assert self._popen.stdout is not None  # noqa: S101
        with self._popen.stdout as output:
            for raw in output:
                line = raw.decode(errors="replace").rstrip()
                if self.program.ready in line:
                    self.ready.set()
                if line:
                    self._lines.append(line)
                    self._say(self.program.name, line)


@contextmanager
def _asking(ask: Callable[[], None]) -> Iterator[None]:
    """Within this block Ctrl-C, SIGTERM and a closed terminal ask, rather than interrupt."""

    def asked(_: int, __: FrameType | None) -> None:
        ask()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, asked) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
