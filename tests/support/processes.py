"""How does a test run a worker of its own, and be sure that it ends?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.environ import clean_environ
from tests.support.waiting import eventually

TAIL = 6000
READY = "ready."


class Child:
    """One process in a process group of its own, with its output in a file."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen
        self._killed = False

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def tail(self) -> str:
        return self.output()[-TAIL:]

    def wait_for(self, text: str, *, timeout: float = 60.0) -> None:
        """Waits until the text is in the output.

        Raises:
            AssertionError: it did not appear in time, or the process ended before.
        """
        eventually(
            lambda: text in self.output() or not self.running, f"{text!r} from {self.name}", timeout=timeout
        )
        if text not in self.output():
            raise AssertionError(f"{self.name} ended with {self.returncode} before {text!r}:\n{self.tail()}")

    def wait(self, *, timeout: float = 60.0) -> int:
        """The exit code, once the process has ended by itself."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout:g} s:\n{self.tail()}") from None

    def signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def terminate(self, *, timeout: float = 60.0) -> int:
        """Asks it to end (SIGTERM); the exit code."""
        self._popen.terminate()
        return self.wait(timeout=timeout)

    def kill(self) -> None:
        """Ends it and its children at once, as a crash would (SIGKILL to its process group).

        Once: when they are gone, the system may give their number to another group.
        """
        if self._killed:
            return
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait(10)

    def end(self) -> None:
        """Whatever it does: it does not run any more afterwards."""
        if self.running:
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(8)
        self.kill()


class Processes:
    """Starts processes with a clean environment and ends all of them when the test is over."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._children: list[Child] = []

    def __iter__(self) -> Iterator[Child]:
        return iter(self._children)

    def start(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        until: str | None = READY,
        timeout: float = 60.0,
    ) -> Child:
        """Starts a process and waits for a text in its output.

        Args:
            env: variables on top of the clean environment.
            cwd: working directory; the test's own home when absent.
            until: the text to wait for; `None` returns at once.
            timeout: seconds to wait for it.
        """
        log = self.home / f"process-{len(self._children)}.log"
        with log.open("wb") as output:
            popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=clean_environ(self.home, env),
                cwd=cwd or self.home,
                start_new_session=True,
            )
        child = Child(" ".join(Path(word).name for word in argv[:6]), popen, log)
        self._children.append(child)
        if until is not None:
            child.wait_for(until, timeout=timeout)
        return child

    def python(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        until: str | None = READY,
        timeout: float = 60.0,
    ) -> Child:
        """Starts this test's own Python: `processes.python("-m", "celery", "-A", "cf_workers", "worker")`."""
        return self.start(sys.executable, *args, env=env, cwd=cwd, until=until, timeout=timeout)

    def end_all(self) -> None:
        for child in reversed(self._children):
            child.end()
