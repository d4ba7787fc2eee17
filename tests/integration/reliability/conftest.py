"""Real servers and real workers for the tests of the repairs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from tests.support import waiting
from tests.support.servers import RealServer, free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

PATIENCE = 20.0 if os.environ.get("STOCK") == "1" else 90.0
"""Seconds for what is only a matter of time, however busy the machine; on Celery as shipped some is not."""


def eventually(
    predicate: Callable[[], Any], what: str, timeout: float = PATIENCE, hint: Callable[[], str] = str
) -> Any:
    """`tests.support.eventually`, with the patience of these tests."""
    return waiting.eventually(predicate, what, timeout=timeout, every=0.05, hint=hint)


class Bell:
    """Ends the work of `work` and `stubborn` tasks: `send_task("work", bell.heard)`, `bell.ring()`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def heard(self) -> tuple[str]:
        """The arguments of a task that listens."""
        return (str(self._path),)

    def ring(self) -> None:
        self._path.touch()


class Server:
    """A Valkey that can be killed and started again on its port, with everything it had acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._server = RealServer(
            port=self.port, data_dir=folder, persist=True, appendonly="yes", appendfsync="always", save='""'
        )
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._server.start()

    def kill(self) -> None:
        self._server.terminate()

    def stop(self) -> None:
        if self._server._process is not None:
            self._server.stop()

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def waiting(self, queue: str = "batch") -> int:
        with self.client() as client:
            return int(client.llen(queue))

    def held(self) -> int:
        with self.client() as client:
            return int(client.hlen("unacked"))

    def outcome(self, task_id: str) -> str | None:
        """The state that the result backend holds."""
        with self.client() as client:
            stored = client.get(f"celery-task-meta-{task_id}")
        return None if stored is None else json.loads(stored)["status"]

    def settled(self) -> bool:
        """Nothing waits and nothing is held: what has not run twice by now never will."""
        return not self.waiting() and not self.held()

    def cut_connections(self) -> None:
        with self.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


class Worker:
    """A worker process, its log, and what its tasks noted."""

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: Path, name: str) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.events_path = Path(environment["EVENTS"])
        command = [sys.executable, "-m", "celery", "-A", "app", "worker", "-l", "INFO", "-n", f"{name}@test"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, "--without-gossip", "--without-mingle", *arguments],
                cwd=HERE,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def until(self, predicate: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
        """Wait for something that needs this worker; give up when it has ended."""

        def looked() -> Any:
            ended = not self.alive
            found = predicate()
            if ended and not found:
                pytest.fail(
                    f"{self.name} exited with {self.process.returncode} before {what}\n{self.story()}"
                )
            return found

        return eventually(looked, what, timeout, hint=self.story)

    def story(self) -> str:
        return f"{self.events()}\n{self.output()[-6000:]}"

    def until_log(self, text: str, count: int = 1) -> None:
        self.until(lambda: self.output().count(text) >= count, f"{text!r} in the log of {self.name}")

    def until_connected_again(self) -> None:
        self.until_log("Connected to", 2)

    def events(self, what: str | None = None, task_id: str | None = None) -> list[dict[str, Any]]:
        if not self.events_path.exists():
            return []
        found = [json.loads(line) for line in self.events_path.read_text().splitlines()]
        return [e for e in found if what in {None, e["what"]} and task_id in {None, e["id"]}]

    def until_events(self, what: str, count: int = 1) -> list[dict[str, Any]]:
        self.until(lambda: len(self.events(what)) >= count, f"{count} x {what}")
        return self.events(what)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def until_exit(self) -> int:
        eventually(lambda: not self.alive, f"{self.name} to exit", hint=self.story)
        return int(self.process.returncode)

    def end(self) -> None:
        if self.alive:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    started = Server(tmp_path / "valkey")
    started.start()
    yield started
    started.stop()


@pytest.fixture
def results(tmp_path: Path) -> Iterator[Server]:
    """A second server, for results alone."""
    started = Server(tmp_path / "valkey-results")
    started.start()
    yield started
    started.stop()


@pytest.fixture
def start_worker(server: Server, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Start a worker and wait until it is ready; keyword arguments become its environment."""
    workers: list[Worker] = []

    def start(*arguments: str, wait: bool = True, **environment: str) -> Worker:
        worker = Worker(
            list(arguments),
            {
                **{name: value for name, value in os.environ.items() if not name.startswith("CELERY_")},
                "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}",
                "PYTHONUNBUFFERED": "1",
                "REDIS": server.url,
                "EVENTS": str(tmp_path / "events.jsonl"),
                **environment,
            },
            tmp_path,
            f"w{len(workers) + 1}",
        )
        workers.append(worker)
        if wait:
            worker.until_log(" ready.")
        return worker

    yield start
    for worker in workers:
        worker.end()


@pytest.fixture
def bell(tmp_path: Path) -> Bell:
    return Bell(tmp_path / "bell")


@pytest.fixture
def producer(server: Server) -> Iterator[Celery]:
    """Sends tasks. It has no result backend: one that outlives its server disturbs the test after."""
    app = Celery("producer", broker=server.url, set_as_current=False)
    app.conf.update(task_default_queue="batch", broker_transport_options={"priority_steps": [0]})
    yield app
    app.close()
