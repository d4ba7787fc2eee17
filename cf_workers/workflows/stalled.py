"""Which runs have something to do that nobody does?

A step that is ready may well lie in a queue; while that is not empty, patience is long.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from cf_workers._redis import Keys, RedisClient
from cf_workers.errors import CfWorkersError
from cf_workers.wire import QUEUES
from cf_workers.workflows.keyed_cache import KeyedCache
from cf_workers.workflows.plan import FINISH, RunHeader
from cf_workers.workflows.record import RunStore
from cf_workers.workflows.resending import Resending

log = logging.getLogger(__name__)

_AT_ONCE = 1000
_PATIENT_AT_ONCE = 100
"""Runs waiting in full queues whose steps are read in one pass: a millisecond each, taken from who works."""
Empty: TypeAlias = KeyedCache[str, bool]
"""Whether a queue is empty, asked once a pass: looking at a queue takes a connection."""


class StalledRuns:
    """Looks at active runs, a portion at a time, and has sent what they lack.

    Args:
        queue_length: of a queue, for whether somebody will come to a step soon.
        patience_seconds: how long something ready may lie untouched while its queue is empty.
        busy_patience_seconds: the same while its queue is not empty; doubled after each time.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        store: RunStore,
        sent: Resending,
        *,
        queue_length: Callable[[str], int],
        patience_seconds: float,
        busy_patience_seconds: float,
    ) -> None:
        self._client = client
        self._keys = keys
        self._store = store
        self._sent = sent
        self._queue_length = queue_length
        self._patience = patience_seconds
        self._busy_patience = busy_patience_seconds
        self._looked_at = 0

    def look(self, now: float) -> None:
        """Look at the next portion of the active runs, and send what they lack."""
        first = self._looked_at
        runs = self._next_active_runs()
        names = ("attempt", "left", "running", "stopping", "created_at", "reopened_at", "parked", "plan")
        with self._client.pipeline(transaction=False) as pipe:
            for run in runs:
                pipe.hmget(self._keys.run(run).run, list(names))
            records = pipe.execute()
        empty: Empty = KeyedCache(lambda queue: self._queue_length(queue) == 0, size=len(QUEUES))
        patient = 0
        for looked_at, (run, values) in enumerate(zip(runs, records, strict=True), first + 1):
            patient += self._look_at(run, dict(zip(names, values, strict=True)), now, empty)
            if patient == _PATIENT_AT_ONCE:
                self._looked_at = looked_at
                break

    def _look_at(self, run: str, record: Mapping[str, str | None], now: float, empty: Empty) -> bool:
        """Send what a run lacks; whether its steps were read although they may well be waiting in queues."""
        if record["attempt"] is None:
            self._client.zrem(self._keys.active, run)
            return False
        attempt, left, running, parked = (
            int(record[name] or 0) for name in ("attempt", "left", "running", "parked")
        )
        began = float(record["reopened_at"] or record["created_at"] or 0)
        if left == 0 or (record["stopping"] and running == 0):
            if now - began >= self._patience:
                self._sent.send(run, attempt, FINISH, now)
        elif not record["stopping"] and running + parked < left:
            queued = self._queued(record["plan"], empty)
            if not queued or now - began >= self._busy_patience:
                self._ready_steps(run, attempt, began, now, empty)
                return queued
        return False

    def _next_active_runs(self) -> list[str]:
        """The next portion of all active runs: a pass stays short, and every run has its turn."""
        first = self._looked_at
        runs = list(self._client.zrange(self._keys.active, first, first + _AT_ONCE - 1))
        self._looked_at = first + len(runs) if len(runs) == _AT_ONCE else 0
        return runs

    def _queued(self, plan: str | None, empty: Empty) -> bool:
        """Whether all the steps of a plan may well be waiting in queues."""
        try:
            queues = self._store.plan(plan or "").queues
        except CfWorkersError:
            return False
        return not any(empty.get(queue) for queue in queues)

    def _ready_steps(self, run: str, attempt: int, began: float, now: float, empty: Empty) -> None:
        header = self._sent.header(run, attempt)
        if header is None:
            return
        states = {
            step: json.loads(state) for step, state in self._client.hgetall(self._keys.run(run).steps).items()
        }
        for step, since in _ready(header, states, began):
            if now - since < self._patience:
                continue
            is_empty = empty.get(header.plan.by_id[step].queue)
            if is_empty or now - since >= self._patience_with(run, step):
                log.warning("step.lost run=%s step=%s ready_for=%.0f", run, step, now - since)
                self._sent.send(run, attempt, step, now)

    def _patience_with(self, run: str, step: str) -> float:
        _, times = self._sent.last(run, step)
        return float(self._busy_patience * 2 ** min(times, 6))


def _ready(header: RunHeader, states: dict[str, dict[str, Any]], began: float) -> Iterable[tuple[str, float]]:
    """Steps that nobody has taken on although everything before them has ended, and since when."""
    graph = header.pending
    for step in graph.order:
        if step == FINISH or step in states:
            continue
        ends = [_ended_at(states.get(dependency)) for dependency in graph.dependencies(step)]
        if None not in ends:
            yield step, max([began, *(end for end in ends if end is not None)])


def _ended_at(state: dict[str, Any] | None) -> float | None:
    return float(state["fin"]) if state and state.get("fin") else None
