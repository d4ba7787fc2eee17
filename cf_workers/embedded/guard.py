"""The guardian of one project's server: `python -m cf_workers.embedded.guard FOLDER`.

It answers "started" or "adopted" once the server serves, then lives in the background: it restarts a
server that dies, and stops it when no process has held the users' lock for a moment. If the guardian itself
is killed the server goes on; the next command that joins, or the next one that leaves, starts a new guardian,
which adopts it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO

from cf_workers.embedded.locks import EXCLUSIVE, FileLock
from cf_workers.embedded.server import Server
from cf_workers.embedded.state import StateDir
from cf_workers.errors import ServerUnreachableError

GRACE = 1.0  # seconds without users, so that consecutive commands share one server
LOOK_AGAIN = 0.2
RESTARTS, WITHIN = 5, 60.0
BUSY = "busy"


class Answer:
    """What the guardian says: once to its launcher, to its log afterwards."""

    def __init__(self, pipe: int) -> None:
        self._pipe: TextIO | None = os.fdopen(pipe, "w")

    def give(self, words: str) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is None:
            sys.stderr.write(f"{words}\n")
            return
        with contextlib.suppress(BrokenPipeError), pipe:  # the launcher may have been interrupted
            pipe.write(words)


class Guardian:
    """Keeps the server running as long as it has users."""

    def __init__(self, state: StateDir, server: Server, users: FileLock) -> None:
        self._state = state
        self._server = server
        self._users = users
        self._asked_to_end = False
        self._restarts: deque[float] = deque(maxlen=RESTARTS)

    def watch(self) -> None:
        """Returns when the server is to be stopped: nobody uses it, or the system asks (SIGTERM).

        Raises:
            ServerUnreachableError: the server keeps dying.
        """
        signal.signal(signal.SIGTERM, self._end)
        unused_since: float | None = None
        while not self._asked_to_end:
            self._keep_running()
            if not self._users.take(EXCLUSIVE):
                unused_since = None
            elif unused_since is not None and time.monotonic() - unused_since >= GRACE:
                return  # the lock stays ours: whoever joins now waits until the server has stopped
            else:
                unused_since = unused_since or time.monotonic()
                self._users.drop()
            time.sleep(LOOK_AGAIN)

    def _keep_running(self) -> None:
        if self._server.running():
            return
        now = time.monotonic()
        if len(self._restarts) == RESTARTS and now - self._restarts[0] < WITHIN:
            raise ServerUnreachableError(f"the server died {RESTARTS} times within {WITHIN:g} s")
        self._restarts.append(now)
        self._server.adopt_or_start()

    def _end(self, *_: object) -> None:
        self._asked_to_end = True


def main(folder: str) -> int:
    """Returns in the launching process once the server serves or has failed; the child goes on."""
    readable, writable = os.pipe()
    if os.fork() == 0:
        os.close(readable)
        return _guard(StateDir(Path(folder)), writable)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        answer = pipe.read()
    sys.stdout.write(answer or "the guardian ended without a word")
    return 0 if answer in ("started", "adopted", BUSY) else 1


def _guard(state: StateDir, report: int) -> int:
    _leave_the_launcher(state)
    answer = Answer(report)
    alone, users = FileLock(state.guard_lock), FileLock(state.users_lock)
    if not alone.take(EXCLUSIVE):
        answer.give(BUSY)
        return 0
    state.guard_lock.write_text(f"{os.getpid()}\n")  # for people: the lock, not the number, is what counts
    server = Server(state)
    try:
        answer.give("started" if server.adopt_or_start() else "adopted")
        Guardian(state, server, users).watch()
        server.stop()
    except ServerUnreachableError as error:
        answer.give(str(error))
        return 1
    return 0


def _leave_the_launcher(state: StateDir) -> None:
    """Nobody waits for this process, so it keeps no pipe, no terminal and no signal of theirs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log = os.open(state.path / "guard.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
