"""Can a task and inputs be used as they were given?"""

from __future__ import annotations

from collections.abc import Mapping

from cf_workers.errors import InputError, TaskTooLongError
from cf_workers.workflows.inputs import input_names
from cf_workers.workflows.spec import WorkflowSpec


def check_task(task: str | None, limit: int) -> None:
    """Refuse a task that is too long, or that is not text.

    Raises:
        TaskTooLongError: it has more than `limit` characters.
        InputError: it holds lone surrogates, as bytes that are not UTF-8 become on a command line.
    """
    if task is None:
        return
    if any("\ud800" <= character <= "\udfff" for character in task):
        raise InputError("the task is not valid UTF-8", {"hint": "convert it, for example with iconv"})
    if len(task) > limit:
        raise TaskTooLongError(
            f"the task has {len(task)} characters; the limit is {limit}",
            {"hint": "shorten it, or raise CF_WORKERS_MAX_TASK_CHARS", "length": len(task), "limit": limit},
        )


def check_list_task(spec: WorkflowSpec, task: str | None) -> None:
    """Refuse to run a plain list of agents without a task.

    Raises:
        InputError: the workflow is one, and there is none.
    """
    if spec.is_list and spec.steps and not (task or "").strip():
        raise InputError(
            f"workflow {spec.name!r} is a list of agents, which all get the run's task; none was given",
            {"hint": "give one with --task"},
        )


def resolve_inputs(spec: WorkflowSpec, given: Mapping[str, str]) -> dict[str, str]:
    """The values of a run's inputs, defaults included.

    Raises:
        InputError: an input is unknown, or one without a default is missing.
    """
    declared = dict(spec.inputs)
    used = {name for step in spec.steps for name in input_names(step.task or "")}
    if unknown := sorted(given.keys() - declared.keys()):
        known = ", ".join(declared) or "none"
        raise InputError(
            f"workflow {spec.name!r} has no input {unknown[0]!r}", {"hint": f"its inputs are: {known}"}
        )
    values = {**{name: value for name, value in declared.items() if value is not None}, **given}
    if missing := sorted(used - values.keys()):
        raise InputError(
            f"workflow {spec.name!r} needs the input {missing[0]!r}",
            {"hint": " ".join(f"--input {name}=…" for name in missing)},
        )
    return values
