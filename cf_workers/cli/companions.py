"""How does a command run processes beside itself, and be sure that none stays behind?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
LOG_LIMIT = 1_000_000
ORPHAN_PATIENCE = 5.0
"""Seconds that a process whose starter was killed gives to what it has begun."""

LOOK_AGAIN = 0.05


@contextmanager
def leaving_on_sigterm() -> Iterator[None]:
    """Within this block SIGTERM ends the process as an exception does: what was started is stopped first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def attended_argv(module: str, *args: str, patience: float) -> list[str]:
    """The command that runs a module until it ends, or until its standard input does.

    Args:
        patience: seconds that it is given to stop by itself when its starter is gone.
    """
    # -P keeps the working directory from shadowing modules; the package must be found all the same.
    return [sys.executable, "-P", "-m", "cf_workers.cli.attended", f"{patience:g}", module, *args]


def attended_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for such a command."""
    path = os.pathsep.join(filter(None, [str(PACKAGE_PARENT), environ.get("PYTHONPATH")]))
    return {**environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


class Companion:
    """A Python module running in a process group of its own; it ends when this process does.

    Args:
        log: where its output goes, readable by its user alone.
        environ: the whole environment of the process.
    """

    def __init__(self, module: str, *args: str, log: Path, environ: Mapping[str, str]) -> None:
        self.log = log
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if _is_full(log) else os.O_APPEND)
        output = os.open(log, flags, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603
                attended_argv(module, *args, patience=ORPHAN_PATIENCE),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=attended_environ(environ),
                start_new_session=True,
            )
        finally:
            os.close(output)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self, *, patience: float) -> None:
        """Ask it to end, insist after `patience` seconds, and end it by force if that does not help."""
        self.ask_to_end(patience=patience)
        self.insist()

    def ask_to_end(self, *, patience: float) -> bool:
        """Ask it to end once it has done what it has begun; whether it ends within `patience` seconds."""
        self._send(signal.SIGTERM)
        return self.wait(patience)

    def insist(self) -> None:
        """Ask a second time, which means at once, and end it by force if that does not help."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.running:
                self._send(number)
                self.wait(8.0)
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """Whether it ends in time; an interruption means that nobody wants to wait any longer."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(KeyboardInterrupt):
            while self.running and time.monotonic() < deadline:
                time.sleep(LOOK_AGAIN)
        return not self.running


def _is_full(log: Path) -> bool:
    return log.exists() and log.stat().st_size > LOG_LIMIT
