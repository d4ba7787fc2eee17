"""What does a schedule consist of, as its author declares it?"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, get_args

from cf_workers.workflows.spec import Lane

Overlap = Literal["skip", "queue", "cancel"]
Missed = Literal["skip", "run_once"]
OVERLAPS: tuple[str, ...] = get_args(Overlap)
MISSED: tuple[str, ...] = get_args(Missed)


class Timing(Protocol):
    """When something ticks; all moments are aware."""

    def after(self, moment: datetime) -> datetime | None:
        """The first tick after a moment, in UTC."""
        ...

    def latest(self, moment: datetime) -> datetime | None:
        """The last tick that is not after a moment, in UTC."""
        ...


@dataclass(frozen=True)
class ScheduleSpec:
    """A schedule; valid by construction once the loader has accepted it.

    Args:
        name: the key in the project file.
        workflow: the workflow that each tick runs; `None` where it runs a batch file.
        batch: a file of executions, one a line, relative to the project file; each is a step of the run.
        task: shown to every step of the workflow.
        lane: of the steps that name none.
        timeout_seconds: bound on each run.
        max_cost_usd: budget of each run.
        overlap: what a tick does while the run before it is active: it is left out, waits for the end of that
            run, or cancels it.
        missed: what becomes of ticks while no beat was running: nothing, or one run for all of them.
        enabled: whether it ticks at all.
    """

    name: str
    timing: Timing
    workflow: str | None = None
    batch: str | None = None
    task: str | None = None
    inputs: tuple[tuple[str, str], ...] = field(default=())
    lane: Lane = "interactive"
    timeout_seconds: float | None = None
    max_cost_usd: float | None = None
    overlap: Overlap = "skip"
    missed: Missed = "skip"
    enabled: bool = True
