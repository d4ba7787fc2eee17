"""What does a run look like at this moment, as far as its events tell?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cf_workers.cli.output import cost_text, seconds_text, tokens_text
from cf_workers.money import usd

if TYPE_CHECKING:
    from cf_workers.workflows.history import RunEvent

_DRAINING = "draining"
ENDED = frozenset({"succeeded", "failed", "skipped", "cancelled"})


@dataclass
class StepView:
    """One step.

    Args:
        status: `waiting|running|retrying|parked` or how it ended.
        cost: US dollars; `None` when the price is unknown.
        note: why it tries again, or waits to be let in.
    """

    id: str
    agent: str
    dependencies: tuple[str, ...] = ()
    status: str = "waiting"
    started: float | None = None
    finished: float | None = None
    attempts: int = 0
    tokens: int = 0
    cost: float | None = 0.0
    note: str = ""

    @property
    def from_cache(self) -> bool:
        """Whether it succeeded without a call."""
        return self.status == "succeeded" and self.attempts == 0

    def seconds(self, now: float) -> float | None:
        """How long it took, or has been taking."""
        if self.started is None:
            return None
        return max(0.0, (self.finished or now) - self.started)

    def apply(self, event: RunEvent) -> None:
        """Take in what happened to it."""
        data = event.data
        kind = event.type.removeprefix("step.")
        if kind == "started":
            self.status, self.note = "running", ""
            self.started = self.started or event.at
            self.attempts = int(data.get("attempts", 1))
        elif kind == "retrying":
            self.status = "retrying"
            self.note = f"{data.get('reason', '')}; again in {float(data.get('countdown', 0)):.1f} s"
        elif kind == "parked":
            self.status, self.note = kind, data.get("reason", "")
        elif kind in ENDED:
            self.status, self.finished, self.note = kind, event.at, ""
            self.attempts = int(data.get("attempts", self.attempts))
            self.tokens = int(data.get("input_tokens", 0)) + int(data.get("output_tokens", 0))
            nanos = data.get("cost_nanos", "0")
            self.cost = usd(int(nanos)) if nanos else None


class RunView:
    """A run and its steps, brought up to date event by event."""

    def __init__(self, name: str, steps: Iterable[StepView]) -> None:
        self.name = name
        self.steps = {step.id: step for step in steps}
        self.began: float | None = None
        self.ended: float | None = None
        self.status = "pending"

    def apply(self, event: RunEvent) -> None:
        """Take in one event."""
        if event.step is not None:
            if event.step in self.steps:
                self.steps[event.step].apply(event)
            return
        self.began = self.began or event.at
        if event.type == "run.started":
            self.status = "running"
        elif event.type == "run.stopping":
            self.status = "stopping"
        elif event.type == "run.finished":
            self.status, self.ended = event.data["status"], event.at
        elif event.type == "run.reopened":
            self._reopen(event.at)

    @property
    def is_execution(self) -> bool:
        """Whether this is a single execution: a plan of one step that bears the plan's name."""
        return list(self.steps) == [self.name]

    @property
    def left(self) -> int:
        return sum(step.status not in ENDED for step in self.steps.values())

    @property
    def tokens(self) -> int:
        return sum(step.tokens for step in self.steps.values())

    @property
    def cost(self) -> float | None:
        """US dollars so far; `None` as soon as one price is unknown."""
        total = 0.0
        for step in self.steps.values():
            if step.cost is None:
                return None
            total += step.cost
        return total

    def _reopen(self, at: float) -> None:
        self.status, self.began, self.ended = "pending", at, None
        for step in list(self.steps.values()):
            if step.status != "succeeded":
                self.steps[step.id] = StepView(step.id, step.agent, step.dependencies)


def told(event: RunEvent, view: RunView) -> str | None:
    """What happened, in one line; `None` for what nobody asked for."""
    if event.step is None:
        return _run_told(event, view)
    step = view.steps.get(event.step)
    if step is None:
        return None
    if step.status == "running":
        about = [f"agent {step.agent}"] if step.agent != step.id else []
        again = [f"attempt {step.attempts}"] if step.attempts > 1 else []
        return f"{step.id}: started{' (' + ', '.join(about + again) + ')' if about + again else ''}"
    if step.status == "parked":
        return f"{step.id}: waits: {step.note}"
    if step.status == "retrying" and event.data.get("reason") == _DRAINING:
        return f"{step.id}: given back by a worker that stops"
    if step.status == "retrying":
        return f"{step.id}: attempt {event.data.get('attempts', '?')} failed: {step.note}"
    return f"{step.id}: {step.status}{_spent(step)}"


def _run_told(event: RunEvent, view: RunView) -> str | None:
    if event.type == "run.finished":
        if view.is_execution:
            return None
        took = seconds_text(None if view.began is None else event.at - view.began)
        return f"{view.name}: {view.status} after {took}, {tokens_text(view.tokens)}, {cost_text(view.cost)}"
    if event.type == "run.stopping":
        return f"{view.name}: stopping ({event.data.get('reason', '')})"
    return f"{view.name}: running again, {view.left} steps" if event.type == "run.reopened" else None


def _spent(step: StepView) -> str:
    if step.attempts == 0:
        return " from the cache" if step.from_cache else ""
    attempts = f", {step.attempts} attempts" if step.attempts > 1 else ""
    took = seconds_text(step.seconds(step.finished or 0.0))
    return f" in {took}{attempts}, {tokens_text(step.tokens)}, {cost_text(step.cost)}"
