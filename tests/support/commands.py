"""How does a test run `cf-workers` as a person or a script does, at a terminal or in a pipe?"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.environ import clean_environ

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """The one document on standard output; anything else there is an error."""
        return dict(json.loads(self.out))

    @property
    def plain(self) -> str:
        """Without the control sequences of a terminal."""
        return ESCAPE.sub("", self.out).replace("\r\n", "\n")


class Commands:
    """Runs `cf-workers` in a folder, with an environment of its own."""

    def __init__(self, home: Path, cwd: Path, environ: Mapping[str, str]) -> None:
        self._home = home
        self._cwd = cwd
        self._environ = dict(environ)

    def __call__(self, *words: str, stdin: str | None = None, timeout: float = 60, **environ: str) -> Ended:
        """Run to the end, in pipes."""
        done = subprocess.run(
            _argv(words),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            cwd=self._cwd,
            env=self._clean(environ),
            timeout=timeout,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def until(
        self, text: str, number: signal.Signals, *words: str, timeout: float = 60, **environ: str
    ) -> Ended:
        """Run in pipes until `text` is on standard error, then send the signal and wait for the end."""
        child = subprocess.Popen(
            _argv(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._cwd,
            env=self._clean(environ),
            start_new_session=True,
        )
        assert child.stderr is not None
        seen = ""
        with child, _killed_if_left(child):
            watchdog = time.monotonic() + timeout
            while text not in seen:
                line = child.stderr.readline()
                assert line, f"ended before {text!r}: {seen}"
                assert time.monotonic() < watchdog, seen
                seen += line
            child.send_signal(number)
            out, err = child.communicate(timeout=timeout)
        return Ended(child.returncode, out, seen + err)

    def into_a_closed_pipe(self, *words: str, timeout: float = 30) -> Ended:
        """Run with a standard output that nobody reads."""
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                _argv(words),
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=subprocess.PIPE,
                text=True,
                cwd=self._cwd,
                env=self._clean({}),
                timeout=timeout,
                check=False,
            )
        finally:
            os.close(writer)
        return Ended(done.returncode, "", done.stderr)

    def at_terminal(
        self,
        *words: str,
        interrupt_at: str | None = None,
        timeout: float = 60,
        **environ: str,
    ) -> Ended:
        """Run with a terminal on every stream; Ctrl-C is pressed when `interrupt_at` is on the screen."""
        ours, theirs = pty.openpty()
        child = subprocess.Popen(
            _argv(words),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self._cwd,
            env=self._clean({"TERM": "xterm-256color", "COLUMNS": "110", "LINES": "30", **environ}),
            start_new_session=True,
        )
        os.close(theirs)
        try:
            return self._read(child, ours, interrupt_at, time.monotonic() + timeout)
        finally:
            os.close(ours)
            if child.poll() is None:
                child.kill()
                child.wait()

    def _read(
        self, child: subprocess.Popen[bytes], terminal: int, interrupt_at: str | None, deadline: float
    ) -> Ended:
        screen = b""
        while True:
            assert time.monotonic() < deadline, screen.decode(errors="replace")
            ready, _, _ = select.select([terminal], [], [], 0.1)
            try:
                chunk = os.read(terminal, 65_536) if ready else b" " * (child.poll() is None)
            except OSError:  # Linux: nobody is at the other end any more
                chunk = b""
            if not chunk:
                return Ended(child.wait(10), screen.decode(errors="replace"))
            screen += chunk if ready else b""
            if interrupt_at is not None and interrupt_at in ESCAPE.sub("", screen.decode(errors="replace")):
                interrupt_at = None
                child.send_signal(signal.SIGINT)

    def _clean(self, environ: Mapping[str, str]) -> dict[str, str]:
        return clean_environ(self._home, {**self._environ, **environ})


@contextmanager
def _killed_if_left(child: subprocess.Popen[str]) -> Iterator[None]:
    """A test that fails does not wait for the end of what it started."""
    try:
        yield
    finally:
        if child.poll() is None:
            child.kill()


def _argv(words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "cf_workers", *words]
