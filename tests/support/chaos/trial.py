"""How many runs get through which storm?"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cf_workers import Client
from cf_workers.errors import ServerUnreachableError
from tests.support.chaos.audit import DRAINS, Audit, audit
from tests.support.chaos.fleet import Fleet, durable_stack
from tests.support.chaos.storm import Storm, Weather
from tests.support.stack import ProjectFolder, Stack, step

GRAPH = {
    "a": (),
    "b": (),
    "c": (),
    "d": ("a", "b"),
    "e": ("b", "c"),
    "f": ("c",),
    "g": ("d", "e", "f"),
}
"""Seven steps, three joins; b and c feed two steps each."""

FAULTS = (
    {"fault": {"status": 429, "retry_after": 0.3}, "rate": 0.01},
    {"fault": "529", "rate": 0.015},
    {"fault": "500", "rate": 0.075},
    {"fault": "stream_cut", "rate": 0.07},
    {"fault": "hang", "rate": 0.03},
)
"""A fifth of all requests. Few of them ask for less, as that halves the calls in flight: trials are busy."""

PERSISTENT = {
    "CF_WORKERS_AGENTS__MAX_RETRIES": "200",
    "CF_WORKERS_WORKER__MAX_DEATHS": "200",
    "CF_WORKERS_WORKER__CONCURRENCY": "20",
    "CF_WORKERS_RETRY__BACKOFF_SECONDS": "0.1",
    "CF_WORKERS_RETRY__BACKOFF_MAX_SECONDS": "2",
}
"""No step fails for good, however bad the weather; waits are short so that a trial is."""


QUICK_TO_HEAL = {
    "CF_WORKERS_WORKER__HEARTBEAT_SECONDS": "1",
    "CF_WORKERS_WORKER__LEASE_SECONDS": "4",
    "CF_WORKERS_WORKER__VISIBILITY_TIMEOUT_SECONDS": "6",
    "CF_WORKERS_RUNS__PATIENCE_SECONDS": "1",
    "CF_WORKERS_RUNS__RECONCILE_SECONDS": "1",
}
"""For trials that must be over soon; as shipped it takes about twice as long to notice a death.

Still shorter leases run out on a busy machine, where nobody was hurt.
"""


@dataclass(frozen=True)
class Plan:
    """What a trial consists of.

    Args:
        at_once: runs that have begun and not ended; more are started as these end.
        storm_seconds: how long the storm blows; until the last run has begun, if not given.
        cached: with the response cache, and tasks that runs share.
        call_seconds: how long a call takes.
        call_timeout_seconds: when a call that hangs is given up.
        calm_seconds: how long after the last strike everything may take to end.
        settings: environment of clients and workers.
    """

    seed: int
    runs: int
    at_once: int = 30
    storm_seconds: float | None = None
    workers: int = 3
    weather: Weather = field(default_factory=Weather)
    cached: bool = False
    call_seconds: float = 0.5
    call_timeout_seconds: float = 4.0
    calm_seconds: float = 180.0
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What came of a trial."""

    audit: Audit
    happened: dict[str, int]
    in_flight_at_kills: list[int]
    seconds: float
    settled_seconds: float

    @property
    def figures(self) -> dict[str, Any]:
        return {
            "seconds": round(self.seconds, 1),
            "seconds from the last strike to the last end": round(self.settled_seconds, 1),
            **self.happened,
            "claims held at each kill": self.in_flight_at_kills,
            **self.audit.figures,
        }


class Trial:
    """Starts runs while a storm blows, waits for all of them, and audits."""

    def __init__(self, plan: Plan, home: Path, *, tell: Callable[[str], None] = lambda _: None) -> None:
        self.plan = plan
        self.home = home
        self._tell = tell
        self._ids: dict[int, str] = {}
        self._ended: set[str] = set()

    def __call__(self) -> Outcome:
        plan = self.plan
        settings = {
            "CF_WORKERS_RUNS__PATIENCE_SECONDS": "5",
            "CF_WORKERS_RUNS__RECONCILE_SECONDS": "5",
            **PERSISTENT,
            "CF_WORKERS_CACHE__ENABLED": str(plan.cached).lower(),
            "CF_WORKERS_AGENTS__TIMEOUT_SECONDS": str(plan.call_timeout_seconds),
            **plan.settings,
        }
        with durable_stack(self.home, **settings) as (stack, server):
            stack.simulator.configure(latency=plan.call_seconds, seed=plan.seed, faults=FAULTS)
            project = self._project()
            fleet = Fleet(stack, server, size=plan.workers, project=project.root)
            client = stack.client(project)
            storm = Storm(fleet, client, plan.weather, random.Random(plan.seed), self._targets)
            for _ in range(plan.workers):
                fleet.enlist()
            for child in fleet.workers:
                child.wait_for(" ready.", timeout=120)
            began = time.monotonic()
            calmed = self._through(storm, client)
            self._until_all_ended(storm, client, stack)
            ended = time.monotonic()
            runs = [self._ids[number] for number in sorted(self._ids)]
            found = audit(stack, client, runs, exposed=fleet.exposed, cached=plan.cached)
            found.check(len(set(runs)) == plan.runs, f"{len(set(runs))} runs were started, not {plan.runs}")
            return Outcome(found, dict(storm.happened), storm.in_flight, ended - began, ended - calmed)

    def _project(self) -> ProjectFolder:
        project = ProjectFolder(self.home / "project")
        return project.agent("writer")

    def _workflow(self, number: int) -> dict[str, Any]:
        name = f"chaos-{number // 3 if self.plan.cached else number}"
        return {"name": name, "steps": [step(id, *GRAPH[id], task=f"{name} {id}") for id in GRAPH]}

    def _targets(self) -> list[tuple[str, list[str]]]:
        return [(run, list(GRAPH)) for run in self._ids.values()][-2 * self.plan.at_once :]

    def _through(self, storm: Storm, client: Client) -> float:
        """Keep so many runs going until the last one has begun; the moment at which the storm was over."""
        number, looked_at, told = 0, 0.0, 0
        blows_until = time.monotonic() + (self.plan.storm_seconds or float("inf"))
        calmed: float | None = None
        while number < self.plan.runs or (self.plan.storm_seconds and calmed is None):
            if time.monotonic() < blows_until:
                storm.blow()
            elif calmed is None:
                storm.calm_down()
                calmed = time.monotonic()
            if number < self.plan.runs and len(self._ids) - len(self._ended) < self.plan.at_once:
                number += self._start(client, number)
            elif time.monotonic() - looked_at > 0.5:
                self._look(client)
                looked_at = time.monotonic()
                if len(self._ended) >= told + 25:
                    told = len(self._ended)
                    self._tell(f"{told} runs have ended; so far {dict(storm.happened)}")
            time.sleep(0.02)
        if calmed is None:
            storm.calm_down()
        return calmed or time.monotonic()

    def _start(self, client: Client, number: int) -> bool:
        """A start that fails is repeated under the same key, as a careful producer does."""
        try:
            handle = client.start_workflow(self._workflow(number), idempotency_key=f"run-{number}")
        except ServerUnreachableError:
            return False
        self._ids[number] = handle.id
        return True

    def _look(self, client: Client) -> None:
        for run in [run for run in self._ids.values() if run not in self._ended]:
            try:
                if client.run(run).done():
                    self._ended.add(run)
            except ServerUnreachableError:
                return

    def _until_all_ended(self, storm: Storm, client: Client, stack: Stack) -> None:
        deadline = time.monotonic() + self.plan.calm_seconds
        while time.monotonic() < deadline:
            storm.fleet.restore()
            self._look(client)
            if len(self._ended) == self.plan.runs and self._is_quiet(stack):
                return
            time.sleep(0.1)

    @staticmethod
    def _is_quiet(stack: Stack) -> bool:
        with stack.redis() as connection:
            return stack.messages_left() == 0 and not any(connection.zcard(f"cfw:{name}") for name in DRAINS)
