"""What happens to a fleet, and when? The same for the same seed, as far as one can tell processes to die."""

from __future__ import annotations

import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import redis
from kombu.exceptions import OperationalError

from cf_workers import Client
from cf_workers.wire import EXECUTE_STEP, FINISH_RUN, INTERACTIVE
from tests.support.chaos.fleet import Fleet


@dataclass(frozen=True)
class Weather:
    """How often what happens, on the mean in seconds between two; and for how long.

    Args:
        freeze_seconds: shortest and longest; beyond a lease a frozen worker is taken for dead.
        outage_seconds: shortest and longest.
    """

    kill_worker: float = 12.0
    freeze_worker: float = 15.0
    kill_server: float = 25.0
    cut_connections: float = 8.0
    duplicate: float = 0.3
    freeze_seconds: tuple[float, float] = (0.5, 12.0)
    outage_seconds: tuple[float, float] = (0.5, 4.0)


@dataclass
class Storm:
    """Hurts a fleet in the thread of whoever calls `blow` again and again.

    Args:
        targets: ids of the runs that messages are repeated for, with their steps.
    """

    fleet: Fleet
    client: Client
    weather: Weather
    dice: random.Random
    targets: Callable[[], list[tuple[str, list[str]]]]
    happened: Counter[str] = field(default_factory=Counter)
    in_flight: list[int] = field(default_factory=list)
    """Claims held by each worker when it was killed."""

    def __post_init__(self) -> None:
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        for name in ("kill_worker", "freeze_worker", "kill_server", "cut_connections", "duplicate"):
            self._again(name)

    def blow(self) -> None:
        """Do what is due."""
        while self._agenda and self._agenda[0][0] <= time.monotonic():
            heapq.heappop(self._agenda)[2]()
        self.fleet.restore()

    def calm_down(self) -> None:
        """Let everything come back that is away, and hurt nothing more."""
        self._agenda.clear()
        if not self.fleet.server.up:
            self.fleet.server_is_back()
        for pid in list(self.fleet.frozen):
            self.fleet.thaw(pid)
        self.fleet.restore()

    def _again(self, name: str) -> None:
        mean = getattr(self.weather, name)
        if mean:
            self._in(self.dice.uniform(0.3, 1.7) * mean, lambda: self._strike(name))

    def _strike(self, name: str) -> None:
        getattr(self, f"_{name}")()
        self._again(name)

    def _in(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (time.monotonic() + seconds, next(self._order), act))

    def _kill_worker(self) -> None:
        ready = self.fleet.ready()
        if not ready:
            return
        held = self.fleet.kill(self.dice.choice(ready))
        self.happened["workers killed"] += 1
        if held is None:
            self.happened["workers killed while the server was away"] += 1
        else:
            self.in_flight.append(held)

    def _freeze_worker(self) -> None:
        ready = self.fleet.ready()
        if not ready:
            return
        child = self.dice.choice(ready)
        self.fleet.freeze(child)
        self.happened["workers frozen"] += 1
        self._in(self.dice.uniform(*self.weather.freeze_seconds), lambda: self._thaw(child.pid))

    def _thaw(self, pid: int) -> None:
        self.fleet.thaw(pid)

    def _kill_server(self) -> None:
        if not self.fleet.server.up:
            return
        self.fleet.server.kill()
        self.happened["server killed"] += 1
        self._in(self.dice.uniform(*self.weather.outage_seconds), self.fleet.server_is_back)

    def _cut_connections(self) -> None:
        if self.fleet.server.up:
            self.fleet.server.cut_connections()
            self.happened["all connections cut"] += 1

    def _duplicate(self) -> None:
        """Deliver a message once more: of any step, ready or not, ended or not; or the end of the run."""
        runs = self.targets()
        if not (runs and self.fleet.server.up):
            return
        run, steps = self.dice.choice(runs)
        step = self.dice.choice([*steps, None])
        try:
            if step is None:
                self.client._app.send_task(
                    FINISH_RUN, args=(run, 1), task_id=run, queue="control", retry=False
                )
            else:
                self.client._app.send_task(
                    EXECUTE_STEP, args=(run, step, 1), task_id=f"{run}:{step}", queue=INTERACTIVE, retry=False
                )
        except (redis.RedisError, OperationalError):
            return  # its connection was among those that were cut
        self.happened["messages delivered again"] += 1
