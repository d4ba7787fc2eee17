"""How do tests look at an embedded server, and make sure that none is left behind?"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cf_workers.embedded import StateDir, state_dir_for
from cf_workers.embedded.locks import is_held
from tests.support.waiting import eventually


def anything_runs(state: StateDir) -> bool:
    return is_held(state.guard_lock) or is_held(state.data_lock)


def server_pid(state: StateDir) -> int:
    """The server's process; 0 while it is being started."""
    address = state.address()
    assert address is not None
    return address.pid


def guardian_pid(state: StateDir) -> int:
    return int(state.guard_lock.read_text())


def kill(pid: int) -> None:
    assert pid > 0, "0 is the process group of the tests themselves"
    os.kill(pid, signal.SIGKILL)


@contextmanager
def private_state(home: Path) -> Iterator[StateDir]:
    """A state folder; at the end nothing of it may run any more, and nothing does."""
    state = StateDir(state_dir_for(home, {"XDG_STATE_HOME": str(home / "state")}))
    yield state
    if is_held(state.guard_lock):  # sooner than by itself, a second after its last user
        os.kill(guardian_pid(state), signal.SIGTERM)
    try:
        eventually(lambda: not anything_runs(state), "guardian and server to end")
    finally:
        for lock, pid in ((state.guard_lock, guardian_pid), (state.data_lock, server_pid)):
            if is_held(lock):
                with contextlib.suppress(ProcessLookupError):
                    kill(pid(state))
