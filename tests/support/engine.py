"""How does a test run the engine without a server, a worker or a model?

Redis is fakeredis with Lua, the broker is kombu's memory transport, and joins are counted by Celery's own
Redis backend on that fakeredis. Only the clock is a test's own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import fakeredis
from celery import Celery, Signature
from celery.backends.redis import RedisBackend
from fakeredis._commands import SUPPORTED_COMMANDS
from fakeredis._commands import Signature as CommandSignature
from fakeredis.commands_mixins.server_mixin import ServerCommandsMixin

from cf_workers._redis import Keys
from cf_workers.reliability import reliable_configuration
from cf_workers.wire import INTERACTIVE, QUEUES
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.history import History
from cf_workers.workflows.joins import Joins
from cf_workers.workflows.launcher import Launcher
from cf_workers.workflows.outcome import Claim, Committed, Outcome
from cf_workers.workflows.plan import Plan, PlannedStep, RunHeader
from cf_workers.workflows.record import NewRun, RunStore
from cf_workers.workflows.steps import RecordPolicy


class ServerTime:
    """The clock of the fake server, which stands still until a test moves it on."""

    def __init__(self, monkeypatch: Any) -> None:
        self._now = time.time()
        monkeypatch.setattr(time, "time", self.now)

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class FakeServer(fakeredis.FakeServer):
    """A fakeredis server that knows since when it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.started_at = time.time()


def _info(self: Any, *_: bytes) -> bytes:
    """INFO, as far as the engine reads it; fakeredis has none."""
    return f"# Server\r\nuptime_in_seconds:{int(time.time() - self._server.started_at)}\r\n".encode()


SUPPORTED_COMMANDS["info"] = CommandSignature("info", "info", (), (bytes,))
ServerCommandsMixin.info = _info


def fake_client(server: FakeServer | None = None) -> Any:
    return fakeredis.FakeRedis(server=server or FakeServer(), decode_responses=True)


def step(id: str, *dependencies: str, **rest: Any) -> PlannedStep:
    """A planned step of an agent that bears its name."""
    defaults = {"agent": id, "definition": "d" * 64, "model": "claude-haiku-4-5", "max_tokens": 100}
    return PlannedStep(id=id, dependencies=dependencies, timeout_seconds=10, **{**defaults, **rest})


def plan(*steps: PlannedStep | str, name: str = "review") -> Plan:
    """A plan; a bare word is a step that waits for nothing."""
    return Plan(workflow=name, steps=tuple(step(one) if isinstance(one, str) else one for one in steps))


def diamond(**rest: Any) -> Plan:
    return plan("start", step("left", "start"), step("right", "start"), step("end", "left", "right", **rest))


SUCCEEDED = Outcome("succeeded", attempts=1, result={}, output="fine")
FAILED = Outcome(
    "failed",
    attempts=1,
    result={"error": {"type": "CallRejectedError", "message": "no"}},
    counts_against_run=True,
)


@dataclass(frozen=True)
class Published:
    """One message as it lies in a queue."""

    queue: str
    task: str
    id: str
    args: tuple[Any, ...]
    headers: Mapping[str, Any]
    size: int
    kwargs: Mapping[str, Any]

    @property
    def step(self) -> str:
        """The step it executes, or the task's name."""
        return self.args[1] if self.task.endswith("execute_step") else self.task


class FakeBackend(RedisBackend):
    """Celery's Redis result backend on a fake server."""

    fake: Any = None

    def _create_client(self, **_: Any) -> Any:
        return self.fake


def memory_app(client: Any) -> Celery:
    """A Celery application whose queues are in memory and whose results are on `client`."""
    app = Celery("tests", set_as_current=False)
    app.conf.update(
        reliable_configuration(
            redis_url="redis://nowhere.invalid:1/0",
            broker_url="memory://",
            queues=QUEUES,
            default_queue=INTERACTIVE,
        )
    )
    backend = FakeBackend(app=app, url="redis://nowhere.invalid:1/0")
    backend.fake = client
    app._backend_cache = backend
    return app


def take_published(app: Celery) -> list[Published]:
    """Every message of every queue, which are empty afterwards."""
    found = []
    with app.connection_for_read() as connection:
        for name in QUEUES:
            queue = app.amqp.queues[name].bind(connection.default_channel)
            queue.declare()
            while (message := queue.get(no_ack=True)) is not None:
                args, kwargs, _ = json.loads(message.body)
                headers = message.headers
                size = len(message.body) + len(json.dumps(headers, default=str))
                found.append(
                    Published(name, headers["task"], headers["id"], tuple(args), headers, size, kwargs)
                )
    return found


def published_form(signature: Signature, **more: Any) -> dict[str, Any]:
    """What a compiled signature must look like once it lies in a queue."""
    options = signature.options
    return {
        "queue": options["queue"],
        "task": signature.task,
        "id": options["task_id"],
        "args": tuple(signature.args),
        "root_id": options["root_id"],
        "argsrepr": options["argsrepr"],
        "group": more.get("group"),
        "group_index": more.get("group_index"),
    }


def form_of(message: Published) -> dict[str, Any]:
    """The same of a message."""
    names = ("root_id", "argsrepr", "group", "group_index")
    return {
        "queue": message.queue,
        "task": message.task,
        "id": message.id,
        "args": message.args,
        **{name: message.headers[name] for name in names},
    }


class Engine:
    """The collaborators of the engine on one fake server."""

    def __init__(self, policy: RecordPolicy | None = None, client: Any = None) -> None:
        self.client = client or fake_client()
        self.keys = Keys()
        self.definitions = Definitions(self.client, self.keys)
        self.store = RunStore(self.client, self.keys, self.definitions, policy)
        self.history = History(self.client, self.keys, self.definitions)
        self.app = memory_app(self.client)
        self.joins = Joins(self.app)
        self.launcher = Launcher(self.app, self.store, self.definitions, self.joins)
        take_published(self.app)

    def record(self, of: Plan, run: str | None = None, **rest: Any) -> RunHeader:
        """The record of a run, without a message."""
        name = run or uuid4().hex
        self.definitions.pin(name, {of.digest: of.text}, self.store.policy.active_seconds)
        started = self.store.start(NewRun(run=name, kind="workflow", plan=of, **rest))
        return self.store.header(started, 1)

    def claim(self, header: RunHeader, id: str, worker: str = "w1", *, may_take_over: bool = False) -> Claim:
        return self.store.claim(header, header.plan.by_id[id], worker, may_take_over=may_take_over)

    def finish_step(self, header: RunHeader, id: str, outcome: Outcome = SUCCEEDED) -> Committed | None:
        """Claim a step and commit it."""
        return self.store.commit(self.claim(header, id), outcome)

    def published(self) -> list[Published]:
        return take_published(self.app)

    def state(self, run: str, id: str) -> dict[str, Any]:
        """A step's entry in the record."""
        return json.loads(self.client.hget(self.keys.run(run).steps, id) or "{}")

    def field(self, run: str, name: str) -> str | None:
        return self.client.hget(self.keys.run(run).run, name)

    def close(self) -> None:
        self.app.close()
        self.client.close()
