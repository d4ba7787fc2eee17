"""Which schedules are due, and what does each of their ticks do?

The ticker holds no state: whichever beat looks finds the same in Redis, and the first one's decision counts.
A tick that could not be carried out (a broken workflow, a server that is away) is tried again at every look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from cf_workers.clock import Clock
from cf_workers.errors import CfWorkersError
from cf_workers.schedules.ledger import Choice, Decided, Ledger, Standing
from cf_workers.schedules.spec import ScheduleSpec
from cf_workers.workflows.outcome import FINAL


@dataclass(frozen=True)
class TickPolicy:
    """How often a beat looks, and how late a tick may be.

    Args:
        look_seconds: the longest time between two looks: edits of the project are seen within it.
        wait_seconds: the same while ticks wait for the end of a run.
        late_seconds: a tick that is older counts as missed.
        grace_seconds: how far a schedule that has been changed reaches back; longer than a look.
        longest_queue: ticks of one schedule that may wait for the end of its run.
    """

    look_seconds: float = 5.0
    wait_seconds: float = 1.0
    late_seconds: float = 60.0
    grace_seconds: float = 10.0
    longest_queue: int = 100


@dataclass(frozen=True)
class Ticked:
    """What became of one tick.

    Args:
        planned: the moment it was planned for, in UTC.
        run: the run it started, if it started one.
        error: why it could not; it will be tried again.
    """

    schedule: str
    planned: datetime
    outcome: Decided | Literal["failed"]
    run: str | None = None
    error: CfWorkersError | None = None


Start = Callable[[ScheduleSpec, str], str]
"""Starts a run under an idempotency key; returns its id."""


class Ticker:
    """Carries out what is due.

    Args:
        start: starts the run of a schedule under an idempotency key.
        status: of a run; `None` when its record is no longer kept.
        cancel: stops a run; one that has ended or is not there is left alone.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        start: Start,
        status: Callable[[str], str | None],
        cancel: Callable[[str], object],
        clock: Clock,
        policy: TickPolicy | None = None,
    ) -> None:
        self._ledger = ledger
        self._start = start
        self._status = status
        self._cancel = cancel
        self._clock = clock
        self._policy = policy or TickPolicy()

    def look(self, specs: Sequence[ScheduleSpec]) -> tuple[list[Ticked], float]:
        """Carry out all ticks that are due; what became of them, and seconds until the next look."""
        specs = [spec for spec in specs if spec.enabled]
        standings = self._ledger.standings([spec.name for spec in specs]) if specs else {}
        ticked = [one for spec in specs for one in self._tick(spec, standings[spec.name])]
        return ticked, self._pause(specs, standings)

    def _tick(self, spec: ScheduleSpec, standing: Standing) -> list[Ticked]:
        now = self._now()
        if standing.timing != str(spec.timing):
            grace = self._policy.grace_seconds
            self._ledger.adopt(spec.name, str(spec.timing), int(now.timestamp()), grace_seconds=grace)
            standing = self._ledger.standings([spec.name])[spec.name]
        due = spec.timing.latest(now)
        found = []
        if standing.waiting and not self._active(standing):
            found.append(self._carry_out(spec, standing.waiting[0], "start", waited=True))
        if due is not None and int(due.timestamp()) > standing.last:
            choice = self._choice(spec, standing, (now - due).total_seconds())
            found.append(self._carry_out(spec, int(due.timestamp()), choice, waited=False))
        return [one for one in found if one.outcome != "done"]

    def _choice(self, spec: ScheduleSpec, standing: Standing, late_seconds: float) -> Choice:
        if spec.missed == "skip" and late_seconds > self._policy.late_seconds:
            return "missed"
        if standing.waiting or self._active(standing):
            return spec.overlap
        return "start"

    def _carry_out(self, spec: ScheduleSpec, planned: int, choice: Choice, *, waited: bool) -> Ticked:
        moment = datetime.fromtimestamp(planned, UTC)
        outcome: Decided = choice
        try:
            if not waited:
                outcome, previous = self._ledger.decide(
                    spec.name, planned, choice, longest=self._policy.longest_queue
                )
                if previous:
                    self._cancel(previous)
            if outcome not in ("start", "cancel"):
                return Ticked(spec.name, moment, outcome)
            run = self._start(spec, tick_key(spec.name, moment))
        except CfWorkersError as error:
            return Ticked(spec.name, moment, "failed", error=error)
        first = self._ledger.settle(spec.name, planned, run, waited=waited)
        return Ticked(spec.name, moment, outcome if first else "done", run)

    def _active(self, standing: Standing) -> bool:
        if standing.run is None:
            return False
        status = self._status(standing.run)
        return status is not None and status not in FINAL

    def _pause(self, specs: Sequence[ScheduleSpec], standings: dict[str, Standing]) -> float:
        now = self._now()
        coming = [tick for spec in specs if (tick := spec.timing.after(now)) is not None]
        waits = any(standing.waiting for standing in standings.values())
        longest = self._policy.wait_seconds if waits else self._policy.look_seconds
        return min([longest, *((tick - now).total_seconds() for tick in coming)])

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


def tick_key(name: str, planned: datetime) -> str:
    """Under which idempotency key a tick starts its run."""
    return f"schedule:{name}:{planned.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
