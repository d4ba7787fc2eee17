"""What do the scenarios of the guards have in common? Workers, producers, and a look at the guards."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import redis
from celery import Celery
from figures import Finding, Table
from support import AGENT, Child, Stack

from cf_workers._redis import Keys, connect
from cf_workers.client import Client
from cf_workers.planning import WorkflowOptions
from cf_workers.resilience import Guard, Scope, credential_digest
from cf_workers.settings import load_settings
from cf_workers.simulator.journal import RequestRecord
from cf_workers.tasks.guarded import model_class

KEY = "sk-benchmark"
WORKFLOW = {"name": "one", "steps": [{"id": "only", "agent": AGENT}]}
Result = tuple[list[Finding], list[Table]]


@dataclass(frozen=True)
class Size:
    """How long and how much.

    Args:
        parked: steps that wait while the breaker is held open.
        batch: enqueued batch steps.
    """

    outage_seconds: float = 60.0
    overload_seconds: float = 120.0
    parked: int = 10_000
    parked_cooldown: float = 180.0
    batch: int = 1000


QUICK = Size(outage_seconds=8.0, overload_seconds=15.0, parked=300, parked_cooldown=10.0, batch=60)


class Scene:
    """A stack whose workers and clients share some settings."""

    def __init__(self, stack: Stack, settings: Mapping[str, str]) -> None:
        self.stack = stack
        self.settings = dict(settings)
        self.redis = redis.Redis.from_url(stack.redis_url(), decode_responses=True)
        policy = load_settings(environ={}, **self._sections()).guard_policy
        self.scope = Scope(credential_digest(KEY), model_class(load_settings(environ={}).agents.model))
        self.guard = Guard(connect(stack.redis_url(), timeout_seconds=0.25), Keys(), policy)

    def _sections(self) -> dict[str, Any]:
        sections: dict[str, Any] = {}
        for name, value in self.settings.items():
            section, _, entry = name.removeprefix("CF_WORKERS_").lower().partition("__")
            if section in ("breaker", "limits"):
                sections.setdefault(section, {})[entry] = json.loads(value)
        return sections

    @contextlib.contextmanager
    def workers(
        self, *names: str, threads: int = 100, **settings: Mapping[str, str]
    ) -> Iterator[list[Child]]:
        """One worker a name, ready; `settings` of one of them are given by its name."""
        with contextlib.ExitStack() as exits:
            children = []
            for name in names:
                own = {**self.settings, **settings.get(name, {})}
                children.append(self.stack.start_worker(threads=threads, name=name, settings=own))
                exits.callback(children[-1].end)
            for name, child in zip(names, children, strict=True):
                self._wait_for_liveness(child, settings.get(name, {}).get("CF_WORKERS_NAMESPACE", "cfw"))
            yield children

    def _wait_for_liveness(self, child: Child, namespace: str) -> None:
        def alive() -> bool:
            found = [
                json.loads(v)
                for k in self.redis.scan_iter(f"{namespace}:worker:*")
                if (v := self.redis.get(k))
            ]
            return any(one["pid"] == child.pid and one["queues"] for one in found)

        child.wait_for(alive)

    @contextlib.contextmanager
    def client(self, namespace: str | None = None) -> Iterator[Client]:
        """A producer of a namespace."""
        before = dict(os.environ)
        os.environ.update(self.settings)
        if namespace:
            os.environ["CF_WORKERS_NAMESPACE"] = namespace
        try:
            client = self.stack.client()
            assert client.context  # settings are read now
        finally:
            os.environ.clear()
            os.environ.update(before)
        with client:
            yield client

    def calls(self, since: float = 0.0) -> list[RequestRecord]:
        found = self.stack.control.requests()
        return [one for one in found if one.path == "/v1/messages" and one.received_at >= since]

    def breaker(self) -> Any:
        return self.guard.status(self.scope).breaker

    def until(self, predicate: Callable[[], object], what: str, seconds: float, every: float = 0.05) -> None:
        deadline = time.monotonic() + seconds
        while not predicate():
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {seconds:g} s for {what}")
            time.sleep(every)

    def statuses(self, runs: Sequence[str], namespace: str = "cfw") -> Counter[str]:
        keys = Keys(namespace)
        with self.redis.pipeline(transaction=False) as pipe:
            for run in runs:
                pipe.hget(keys.run(run).run, "status")
            return Counter(str(status) for status in pipe.execute())

    def all_ended(self, runs: Sequence[str], namespace: str = "cfw") -> bool:
        return set(self.statuses(runs, namespace)) <= {"succeeded", "failed", "cancelled"}


@contextlib.contextmanager
def scene(settings: Mapping[str, str] | None = None, **simulator: Any) -> Iterator[Scene]:
    with Stack(**simulator) as stack:
        made = Scene(stack, settings or {})
        try:
            yield made
        finally:
            made.redis.close()


def start(client: Client, number: int, lane: str = "interactive", text: str = "") -> list[str]:
    """Start so many runs of one step."""
    options = WorkflowOptions(lane=lane)  # type: ignore[arg-type]
    return [
        client.start_workflow(WORKFLOW, f"Look into {uuid4().hex} {text}", options=options).id
        for _ in range(number)
    ]


class Events:
    """Celery's events, as Flower hears them."""

    def __init__(self, url: str) -> None:
        self.seen: list[dict[str, Any]] = []
        self._app = Celery("listener", broker=url, set_as_current=False)
        self._connection = self._app.connection()
        self._receiver = self._app.events.Receiver(self._connection, handlers={"*": self.seen.append})
        self._thread = threading.Thread(target=self._receiver.capture, kwargs={"wakeup": False}, daemon=True)

    def __enter__(self) -> Events:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._thread.join(10)
        self._connection.release()
        self._app.close()


def per_second(calls: Sequence[RequestRecord], first: float, last: float) -> list[int]:
    bins = [0] * max(1, int(last - first))
    for one in calls:
        if first <= one.received_at < first + len(bins):
            bins[int(one.received_at - first)] += 1
    return bins
