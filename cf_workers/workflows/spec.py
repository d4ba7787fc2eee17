"""What does a workflow consist of, as its author declares it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rule = Literal["all_succeeded", "all_done"]
Lane = Literal["interactive", "background", "batch", "auto"]
"""How a step is asked.

    interactive   at once
    background    as soon as nobody interactive wants the slot; at the full price
    batch         in a message batch, at half the price, within a day
    auto          in a message batch if its run has a deadline that leaves the time, else at once
"""


@dataclass(frozen=True, slots=True)
class StepSpec:
    """One agent step.

    Args:
        id: unique in its workflow.
        task: the step's own task; `None` in list workflows, whose steps get the run's task.
        dependencies: ids of the steps whose outputs this one sees, in that order.
        rule: when it runs: only after all dependencies succeeded, or after they have all ended.
        allow_failure: its failure does not make the run fail.
        timeout_seconds: bound on one attempt, in seconds.
        max_retries: further requests after the first.
        complexity: the tier from which its model is chosen, unless it names a model.
        lane: how it is asked; `None` leaves it to the run.
    """

    id: str
    agent: str
    task: str | None = None
    dependencies: tuple[str, ...] = ()
    rule: Rule = "all_succeeded"
    allow_failure: bool = False
    timeout_seconds: float | None = None
    max_retries: int | None = None
    model: str | None = None
    max_tokens: int | None = None
    cacheable: bool | None = None
    lane: Lane | None = None
    complexity: str | None = None


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    """A whole workflow; valid by construction once the loader has accepted it.

    Args:
        name: the key in the project file.
        title: its display name, if it has one.
        inputs: names that `{{ inputs.NAME }}` in a task may use, with their defaults; `None`: must be given.
        timeout_seconds: bound on the whole run, in seconds.
        is_list: declared as a plain list of agents.
    """

    name: str
    steps: tuple[StepSpec, ...]
    title: str | None = None
    description: str | None = None
    inputs: tuple[tuple[str, str | None], ...] = ()
    timeout_seconds: float | None = None
    is_list: bool = False
