"""How does a command come to use the project's server, be it the first one or the tenth?"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from cf_workers.embedded import probe
from cf_workers.embedded.locks import EXCLUSIVE, SHARED, FileLock, is_held, opened
from cf_workers.embedded.state import HINT, Address, StateDir
from cf_workers.errors import ServerUnreachableError

JOIN_WITHIN = 60.0
LEAVE_WITHIN = 10.0
LOOK_AGAIN = 0.02
PACKAGE_PARENT = Path(__file__).resolve().parents[2]
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
INHERITED_PREFIXES = ("LC_", "PYTHON", "COVERAGE")


@dataclass(frozen=True)
class EmbeddedServer:
    """A process's hold on the server; it may be stopped once every hold is closed.

    A process that dies lets go as well. Forked children hold on for as long as they live.

    Args:
        url: with the password in it; not for logs.
        started: whether this call started the server, rather than found it running.
    """

    url: str
    started: bool
    state_dir: Path
    _hold: FileLock

    def close(self) -> None:
        """Lets go of the server. Safe to repeat."""
        if self._hold.descriptor >= 0:
            self._hold.close()
            # Failing here would hide the outcome of the command; the next one that joins tries again.
            with contextlib.suppress(ServerUnreachableError):
                _find_a_guardian_for_an_orphan(StateDir(self.state_dir))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EmbeddedServer(state_dir={str(self.state_dir)!r}, started={self.started})"


def join_or_start(
    state_dir: Path, announce: Callable[[str], object], *, timeout: float = JOIN_WITHIN
) -> EmbeddedServer:
    """Uses the server of a state folder, and starts it if it is not running.

    Args:
        state_dir: as `state_dir_for` made it.
        announce: told once, in a sentence for a person, when a server was started.
        timeout: seconds for all of it, loading the data included.

    Raises:
        ServerUnreachableError: no server for this platform, or it does not start.
    """
    state = StateDir(state_dir)
    deadline = time.monotonic() + timeout
    with opened(state.start_lock) as starting:
        starting.wait(EXCLUSIVE, deadline)
        hold = FileLock(state.users_lock)
        try:
            hold.wait(SHARED, deadline)
            started, address = _ensure_running(state, deadline)
        except BaseException:  # Ctrl-C as well: who does not use the server must not keep it running
            hold.close()
            raise
    if started:
        announce(
            f"No Redis URL is set: started an embedded Valkey on 127.0.0.1:{address.port}; "
            f"its data is kept in {state.path}."
        )
    return EmbeddedServer(state.url(address.port), started, state.path, hold)


def running_url(state_dir: Path) -> str | None:
    """The address of the server if it runs, for who can do without: it is neither started nor held."""
    state = StateDir(state_dir)
    address = _serving(state)
    return None if address is None else state.url(address.port)


def _ensure_running(state: StateDir, deadline: float) -> tuple[bool, Address]:
    started = False
    while time.monotonic() < deadline:
        if not is_held(state.guard_lock):
            started = _launch_guardian(state, deadline) == "started"
        elif address := _serving(state):
            return started, address
        else:
            time.sleep(LOOK_AGAIN)
    raise ServerUnreachableError(
        f"the embedded server of {state.path} does not answer", {"hint": f"read {state.log}, or {HINT}"}
    )


def _serving(state: StateDir) -> Address | None:
    address = state.address()
    if address is None or not address.ready:
        return None
    answer = probe.ask(address.port, state.password())
    return address if answer is not None and answer.serving else None


def _launch_guardian(state: StateDir, deadline: float) -> str:
    """The guardian's first word, once the server serves."""
    try:
        launched = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "cf_workers.embedded.guard", str(state.path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=state.path,
            env=_guardian_environ(),
            start_new_session=True,  # Ctrl-C in a terminal does not reach it
            timeout=max(1.0, deadline - time.monotonic()),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerUnreachableError(
            f"the embedded server of {state.path} cannot be started: {error}", {"hint": HINT}
        ) from error
    if launched.returncode != 0:
        reason = launched.stdout.strip() or launched.stderr.strip()[-500:]
        raise ServerUnreachableError(reason, {"hint": f"read {state.log}, or {HINT}"})
    return launched.stdout.strip()


def _guardian_environ() -> dict[str, str]:
    """What the guardian needs, and no key: it outlives the command that started it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in INHERITED or name.startswith(INHERITED_PREFIXES)
    }
    path = os.pathsep.join(filter(None, [str(PACKAGE_PARENT), kept.get("PYTHONPATH")]))
    return kept | {"PYTHONPATH": path}


def _find_a_guardian_for_an_orphan(state: StateDir) -> None:
    """A server whose guardian was killed gets a new one, which stops it if nobody else uses it."""
    with opened(state.start_lock) as starting:
        # Whoever holds this lock is joining, and looks after the server itself.
        if starting.take(EXCLUSIVE) and not is_held(state.guard_lock) and is_held(state.data_lock):
            _launch_guardian(state, time.monotonic() + LEAVE_WITHIN)
