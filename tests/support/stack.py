"""The whole system for a test: a real server, the simulated provider over HTTP, real workers, a client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from cf_workers import Client
from cf_workers.simulator import Simulator, SimulatorConfig
from cf_workers.simulator.journal import RequestRecord
from tests.support import brokers
from tests.support.processes import Child, Processes
from tests.support.servers import Store
from tests.support.waiting import eventually

QUICK = {
    "CF_WORKERS_RETRY__BACKOFF_SECONDS": "0.05",
    "CF_WORKERS_RUNS__PATIENCE_SECONDS": "1",
    "CF_WORKERS_RUNS__RECONCILE_SECONDS": "1",
    "CF_WORKERS_CACHE__ENABLED": "false",
}
"""What tests change so as not to wait, and to count calls; everything else is as shipped."""

QUICK_TO_BURY = {"CF_WORKERS_WORKER__HEARTBEAT_SECONDS": "0.5", "CF_WORKERS_WORKER__LEASE_SECONDS": "2"}
"""For tests in which a worker dies: its claims are dead after two seconds."""


class ProjectFolder:
    """A small project: agents by name with a line of text each, and workflows as a project file has them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / ".claude" / "claude.json"
        self._document: dict[str, Any] = {"version": "1.0.0", "agents": {}, "workflows": {}}

    def agent(
        self, name: str, text: str = "", *, contract: str | None = None, **settings: Any
    ) -> ProjectFolder:
        """Add an agent, or write it anew."""
        entry = {"file": f"agents/{name}.md", **settings}
        self._write(entry["file"], f"# {name}\n\n{text or f'You are {name}.'}\n")
        if contract is not None:
            entry["contract"] = f"contracts/{name}.contract"
            self._write(entry["contract"], contract)
        self._document["agents"][name] = entry
        return self._save()

    def workflow(self, name: str, *steps: Any, **settings: Any) -> ProjectFolder:
        """Add a workflow: a list of agents' names, or steps made with `step`."""
        plain = all(isinstance(one, str) for one in steps)
        self._document["workflows"][name] = list(steps) if plain else {"steps": list(steps), **settings}
        return self._save()

    def section(self, name: str, **values: Any) -> ProjectFolder:
        self._document[name] = values
        return self._save()

    def _save(self) -> ProjectFolder:
        self._write("claude.json", json.dumps(self._document, indent=2))
        return self

    def _write(self, relative: str, text: str) -> None:
        path = self.file.parent / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def step(
    id: str, *dependencies: str, agent: str = "writer", task: str | None = None, **rest: Any
) -> dict[str, Any]:
    """A step of a DAG workflow; its task names it, so that its request can be found."""
    return {"id": id, "agent": agent, "task": task or f"do {id}", "dependencies": list(dependencies), **rest}


class Stack:
    """A server and a simulated provider; workers and clients are made on request."""

    def __init__(self, store: Store, simulator: Simulator, processes: Processes, **settings: str) -> None:
        self.store = store
        self.simulator = simulator
        self.processes = processes
        self.settings = {**QUICK, "CF_WORKERS_REDIS_URL": store.url, **settings}
        self._clients: list[Client] = []

    @property
    def broker_url(self) -> str:
        """Where messages and events are."""
        return self.settings.get(brokers.SETTING, self.store.url)

    @property
    def environ(self) -> dict[str, str]:
        """What a process of this stack needs in its environment."""
        return {
            **self.settings,
            "ANTHROPIC_API_KEY": "sk-ant-simulated",
            "ANTHROPIC_BASE_URL": self.simulator.url,
        }

    def worker(self, *arguments: str, cwd: Path | None = None, **environ: str) -> Child:
        """Start a worker and wait until it is ready; without the second in which it looks for others."""
        return self.celery("worker", "-l", "INFO", "--without-mingle", *arguments, cwd=cwd, **environ)

    def celery(
        self, *arguments: str, cwd: Path | None = None, until: str | None = " ready.", **environ: str
    ) -> Child:
        """Start one of Celery's commands."""
        return self.processes.python(
            "-m",
            "celery",
            "-A",
            "cf_workers",
            *arguments,
            env={**self.environ, **environ},
            cwd=cwd,
            until=until,
        )

    def script(self, text: str, *arguments: str, cwd: Path | None = None, **environ: str) -> Child:
        """Start a Python program of a user of ours."""
        return self.processes.python(
            "-c", text, *arguments, env={**self.environ, **environ}, cwd=cwd, until=None
        )

    def client(self, project: ProjectFolder | None = None) -> Client:
        """A client with this stack's settings; closed with the stack."""
        client = Client(config=project.file if project else None)
        with self.set():
            assert client.context.redis_url == self.store.url
        self._clients.append(client)
        return client

    @contextmanager
    def set(self) -> Iterator[None]:
        """Give this process the environment of the stack's others, for as long as the block runs."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environ.items():
                patch.setenv(name, value)
            yield

    def redis(self) -> redis.Redis:
        """A connection of the caller's own, that decodes."""
        return redis.Redis.from_url(self.store.url, decode_responses=True)

    def calls(self, text: str = "") -> list[RequestRecord]:
        """The calls at the provider whose body holds `text`, in order of arrival."""
        return [
            one
            for one in self.simulator.requests()
            if one.path == "/v1/messages" and text in (one.body or "")
        ]

    def calls_by_task(self, *tasks: str) -> dict[str, int]:
        """How many calls each of these tasks cost; a task is found by its own text between line ends."""
        return {task: len(self.calls(f"\\n{task}\\n")) for task in tasks}

    def eventually_called(self, text: str, times: int = 1) -> list[RequestRecord]:
        """The calls that hold `text`, once there are so many of them."""
        eventually(lambda: len(self.calls(text)) >= times, f"{times} calls with {text!r}")
        return self.calls(text)

    def messages_left(self) -> int:
        """Messages that wait or that a worker holds."""
        if brokers.SETTING in self.settings:
            return brokers.messages_at(self.broker_url)
        with self.redis() as client:
            return client.hlen("unacked") + sum(
                client.llen(name) for name in ("control", "interactive", "batch")
            )

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()


def user_text(call: RequestRecord) -> str:
    """The one user message of a call."""
    (message,) = json.loads(call.body or "{}")["messages"]
    content = message["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def system_text(call: RequestRecord) -> list[str]:
    """The system prompt of a call, block by block."""
    return [block["text"] for block in json.loads(call.body or "{}").get("system", [])]


@contextmanager
def running_simulator(**config: Any) -> Iterator[Simulator]:
    with Simulator(SimulatorConfig(directives=True, **config)) as simulator:
        yield simulator
