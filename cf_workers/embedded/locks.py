"""Who is still there? Locks that the kernel drops when their process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cf_workers.errors import ServerUnreachableError

SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX
LOOK_AGAIN = 0.02


class FileLock:
    """A lock on an open file (flock): forked children hold it too, started programs do not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, kind: int) -> bool:
        """Takes the lock unless somebody is in the way; never waits."""
        try:
            fcntl.flock(self.descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait(self, kind: int, deadline: float) -> None:
        """Takes the lock.

        Args:
            kind: `SHARED` or `EXCLUSIVE`.
            deadline: on the monotonic clock.

        Raises:
            ServerUnreachableError: it was not free in time.
        """
        while not self.take(kind):
            if time.monotonic() > deadline:
                raise ServerUnreachableError(
                    f"{self.path} stayed locked; another command is starting or stopping the embedded server",
                    {"hint": "try again in a moment; `lsof` on that file shows who holds it"},
                )
            time.sleep(LOOK_AGAIN)

    def drop(self) -> None:
        """Gives the lock back, for all who share the open file."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Lets go of this process's share; a child that inherited it keeps the lock. Safe to repeat."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


@contextmanager
def opened(path: Path) -> Iterator[FileLock]:
    """A lock that is not taken yet and is let go at the end."""
    lock = FileLock(path)
    try:
        yield lock
    finally:
        lock.close()


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock exclusively."""
    with opened(path) as lock:
        return not lock.take(SHARED)
