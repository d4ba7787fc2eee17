"""What exactly does a run execute? A workflow with definitions, models and limits pinned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cf_workers.wire import BATCH, INTERACTIVE, Payload, canonical_json
from cf_workers.workflows.graph import Graph
from cf_workers.workflows.spec import Lane, Rule

FINISH = "(finish)"
"""The join of all last steps. Parentheses are outside the pattern of step ids, so it cannot collide."""


def queue_of(lane: Lane) -> str:
    """The queue of a lane's messages; those of a batch's rows take milliseconds, and may wait as well."""
    return BATCH if lane in {"background", "batch"} else INTERACTIVE


class PlannedStep(Payload):
    """One step as it will be executed.

    Args:
        definition: digest under which the agent's definition is pinned.
        max_retries: `None` leaves it to the worker's task.
        after: steps that must have ended first without handing anything on (sequential runs).
        passes: whether it sees the outputs of its dependencies.
        chosen: why it has this model, where rules have chosen it.
        most_nanos: no call of it may cost more, in billionths of a dollar.
    """

    id: str
    agent: str
    definition: str
    model: str
    max_tokens: int
    timeout_seconds: float
    max_retries: int | None = None
    lane: Lane = "interactive"
    task: str | None = None
    dependencies: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    rule: Rule = "all_succeeded"
    allow_failure: bool = False
    passes: bool = True
    cacheable: bool | None = None
    chosen: str | None = None
    most_nanos: int | None = None

    @property
    def queue(self) -> str:
        """The queue of its messages."""
        return queue_of(self.lane)


class Plan(Payload):
    """A pinned workflow. Equal plans have equal digests, whoever starts them."""

    workflow: str
    steps: tuple[PlannedStep, ...]

    @cached_property
    def text(self) -> str:
        return canonical_json(self.model_dump(mode="json", exclude_defaults=True))

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @cached_property
    def by_id(self) -> Mapping[str, PlannedStep]:
        return {step.id: step for step in self.steps}

    @cached_property
    def definitions(self) -> frozenset[str]:
        return frozenset(step.definition for step in self.steps)

    @cached_property
    def queues(self) -> frozenset[str]:
        return frozenset(step.queue for step in self.steps)

    @cached_property
    def graph(self) -> Graph:
        """All edges, those of order alone included."""
        return Graph({step.id: predecessors(step) for step in self.steps})

    @cached_property
    def tails(self) -> Mapping[str, float]:
        """Seconds from each step's beginning to the end of the run at the latest: along the longest path.

        One attempt a step, each asked at once.
        """
        graph = self.graph
        tails: dict[str, float] = {}
        for step in reversed(graph.order):
            after = max((tails[successor] for successor in graph.successors(step)), default=0.0)
            tails[step] = self.by_id[step].timeout_seconds + after
        return tails

    def pending(self, kept: Iterable[str]) -> Graph:
        """What is left to execute when the `kept` steps have succeeded already, closed by `FINISH`."""
        done = frozenset(kept)
        left = {
            step.id: tuple(dep for dep in predecessors(step) if dep not in done)
            for step in self.steps
            if step.id not in done
        }
        return Graph({**left, FINISH: Graph(left).leaves})


def predecessors(step: PlannedStep) -> tuple[str, ...]:
    """Every step that must have ended before `step`, each once, dependencies first."""
    return tuple(dict.fromkeys((*step.dependencies, *step.after)))


@dataclass(frozen=True)
class RunHeader:
    """What does not change while an attempt of a run is under way; workers read it once.

    Args:
        kept: steps that had succeeded before this attempt.
        inputs: values for `{{ inputs.NAME }}`.
        message: for a single execution, the signature that executes it; `None` for a workflow.
    """

    run: str
    attempt: int
    plan: Plan
    task: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    message: Mapping[str, Any] | None = None

    @classmethod
    def of_first_attempt(cls, run: str, plan: Plan) -> RunHeader:
        """The header of a run that has not begun: all that compiling needs."""
        return cls(run, 1, plan)

    @property
    def key(self) -> tuple[str, int]:
        return (self.run, self.attempt)

    @cached_property
    def pending(self) -> Graph:
        return self.plan.pending(self.kept)
