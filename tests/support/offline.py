"""How does a test get a client without a server? On the engine, whose runs the test ends itself."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from cf_workers.client import Client
from cf_workers.workflows.outcome import Outcome
from tests.support.engine import SUCCEEDED, Engine

NOWHERE = "redis://:s3cret@nowhere.invalid:1/0"


def offline_client(engine: Engine, project: Path) -> Client:
    """A client of a project on the engine."""

    class Offline(Client):
        _redis: Any = cached_property(lambda self: engine.client)
        _app: Any = cached_property(lambda self: engine.app)

    return Offline(project, NOWHERE)


def end_run(engine: Engine, run: str, outcome: Outcome = SUCCEEDED) -> None:
    """End a run as a worker does, every step alike."""
    header = engine.store.header(run, 1)
    for id in header.plan.graph.order:
        engine.finish_step(header, id, outcome)
    engine.store.finish(run, 1)


def active_runs(engine: Engine) -> list[str]:
    """The runs that have not ended, in the order in which they were recorded."""
    recorded = engine.client.zrange(engine.keys.runs, 0, -1)
    return [run for run in recorded if engine.client.zscore(engine.keys.active, run) is not None]
