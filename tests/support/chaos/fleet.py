"""What is there to be hurt: a server that keeps what it acknowledged, and workers."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import redis

from tests.support.brokers import own_broker
from tests.support.processes import Child, Processes
from tests.support.servers import RealServer, Store, free_port
from tests.support.stack import Stack, running_simulator

LAST_WRITES_SECONDS = 0.05
"""What a process wrote just before it was stopped reaches the server within this time."""


class DurableServer:
    """A Valkey that can be killed and started again on its port, with everything it had acknowledged."""

    def __init__(self, folder: Path) -> None:
        self._server = RealServer(
            port=free_port(), data_dir=folder, persist=True, appendonly="yes", appendfsync="always", save='""'
        )
        self._server.start()
        self.up = True
        self.url = f"{self._server.connection_url}/0"

    def kill(self) -> None:
        self.up = False
        self._server.terminate()

    def start(self) -> None:
        self._server.start()
        self.up = True

    def close(self) -> None:
        if self.up:
            self.kill()

    def cut_connections(self) -> None:
        """Drop every connection but the one that says so."""
        with redis.Redis.from_url(self.url) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


class Fleet:
    """Workers on a durable server; what each of them was working on when it was stopped is counted.

    Args:
        stack: on the server.
        size: workers that are kept running.
    """

    def __init__(self, stack: Stack, server: DurableServer, *, size: int, project: Path) -> None:
        self.stack = stack
        self.server = server
        self.size = size
        self._project = project
        self._started = 0
        self._uncounted: set[int] = set()
        self._ready: set[int] = set()
        self.workers: list[Child] = []
        self.frozen: set[int] = set()
        self.exposed = 0
        """Claims held by workers when they were killed or frozen: each may have lost one call."""

    def enlist(self, *, wait: bool = False) -> Child:
        """Start one more worker."""
        self._started += 1
        child = self.stack.celery(
            "worker", "-l", "INFO", "--without-mingle", "-n", f"w{self._started}@chaos",
            cwd=self._project, until=" ready." if wait else None,
        )  # fmt: skip
        self.workers.append(child)
        return child

    def restore(self) -> None:
        """Replace whoever is not there any more."""
        self.workers = [child for child in self.workers if child.running]
        while len(self.workers) < self.size:
            self.enlist()

    def ready(self) -> list[Child]:
        """Workers that have begun to work, and are not frozen."""
        for child in self.workers:
            if child.pid not in self._ready and " ready." in child.output():
                self._ready.add(child.pid)
        return [
            child
            for child in self.workers
            if child.running and child.pid in self._ready and child.pid not in self.frozen
        ]

    def kill(self, child: Child) -> int | None:
        """End it as a crash would; the claims that it held, if the server can be asked."""
        child.signal(signal.SIGSTOP)
        held = self._count(child.pid)
        child.kill()
        self.frozen.discard(child.pid)
        self.workers.remove(child)
        return held

    def freeze(self, child: Child) -> int | None:
        """Stop it without its noticing."""
        child.signal(signal.SIGSTOP)
        self.frozen.add(child.pid)
        return self._count(child.pid)

    def thaw(self, pid: int) -> bool:
        """Let it go on, if it is still there."""
        for child in self.workers:
            if child.pid == pid and pid in self.frozen and child.running:
                self.frozen.discard(pid)
                child.signal(signal.SIGCONT)
                return True
        return False

    def server_is_back(self) -> None:
        """Start the server, and count what could not be counted while it was away."""
        self.server.start()
        for pid in list(self._uncounted):
            self._count(pid)

    def held_by(self, pid: int) -> int:
        """The claims of a process."""
        with self.stack.redis() as client:
            claims = [member.split("\t") for member in client.zrange("cfw:claims", 0, -1)]
            states = [client.hget(f"cfw:run:{{{run}}}:steps", step) for run, step, _ in claims]
        owners = [json.loads(state).get("w", "") for state in states if state]
        return sum(owner.split(":")[1:2] == [str(pid)] for owner in owners)

    def _count(self, pid: int) -> int | None:
        if not self.server.up:
            self._uncounted.add(pid)
            return None
        time.sleep(LAST_WRITES_SECONDS)  # they are in no place where one could look for them
        held = self.held_by(pid)
        self._uncounted.discard(pid)
        self.exposed += held
        return held


@contextlib.contextmanager
def durable_stack(home: Path, **settings: str) -> Iterator[tuple[Stack, DurableServer]]:
    """A stack on a durable server, without workers; nothing of it runs afterwards."""
    server = DurableServer(home / "valkey")
    processes = Processes(home)
    try:
        with running_simulator(body_bytes_limit=256 * 1024 * 1024) as simulator, own_broker() as broker:
            stack = Stack(Store(server.url), simulator, processes, **settings, **broker)
            yield stack, server
            stack.close()
    finally:
        for child in processes:
            child.kill()
        server.close()
