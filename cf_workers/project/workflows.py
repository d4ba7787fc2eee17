"""What does a workflow in JSON mean, and what is wrong with it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from cf_workers.project.fields import Fields, kind, strings_of
from cf_workers.project.inputs import read_inputs
from cf_workers.project.keys import Key, choice, flag, positive, read_keys, strings, text, whole, word
from cf_workers.project.problems import NAME_RULE, Problem, Report, at, is_name
from cf_workers.workflows.graph import find_cycle
from cf_workers.workflows.inputs import input_names
from cf_workers.workflows.spec import Lane, Rule, StepSpec, WorkflowSpec

_DEPENDENCIES_ABOUT = "Ids of the steps that must have ended first; this one sees their outputs."

DEPENDENCY_KEYS = ("dependencies", "needs", "depends_on")
STEP_SETTINGS: tuple[Key, ...] = (
    choice(
        "rule",
        "Run after all dependencies succeeded, or once all have ended.",
        get_args(Rule),
        default="all_succeeded",
    ),
    flag("allow_failure", "Its failure does not make the run fail.", default=False),
    positive("timeout_seconds", "Bound on one attempt, in seconds."),
    whole("max_retries", "Further requests after the first.", 0),
    word("model", "Instead of the agent's own; auto: as the section models chooses."),
    word("complexity", "A tier of the section models, which chooses the model."),
    whole("max_tokens", "Bound on its answer.", 1),
    flag("cacheable", "Off: its answer is not kept."),
    choice(
        "lane",
        "How it is asked: at once, when nobody interactive waits, or in a message batch at half the price.",
        get_args(Lane),
        default="interactive",
    ),
)
STEP_TABLE: tuple[Key, ...] = (
    word("id", "Unique in its workflow; the agent's name if left out."),
    word("agent", "Who does it: an agent of this project."),
    text("task", "What to do; {{ inputs.NAME }} is filled from the inputs of the run."),
    *(strings(name, _DEPENDENCIES_ABOUT) for name in DEPENDENCY_KEYS),
    *STEP_SETTINGS,
)
WORKFLOW_TABLE: tuple[Key, ...] = (
    text("name", "Its title."),
    text("description", "What it is for."),
    positive("timeout_seconds", "Bound on the whole run, in seconds."),
)
STEP_KEYS = tuple(key.name for key in STEP_TABLE)
WORKFLOW_KEYS = (*(key.name for key in WORKFLOW_TABLE), "inputs", "steps")

_CYCLES_NAMED = 10

Placed = tuple[str, str]
"""A place in the document, and the name that stands there."""


@dataclass(frozen=True)
class WorkflowReading:
    """A workflow as read: usable exactly when there are no problems.

    Args:
        agents: the agents that it names, with their places.
    """

    spec: WorkflowSpec | None
    problems: list[Problem]
    agents: list[Placed]


def read_workflow(name: str, raw: object, place: str, file: str | None = None) -> WorkflowReading:
    """Read one workflow, a list of agents or an object with steps; which agents exist is not asked here.

    Args:
        place: begins the places of its problems.
    """
    report = Report(file)
    if isinstance(raw, list):
        spec, agents = _read_list(name, raw, place, report)
    elif isinstance(raw, Mapping):
        spec, agents = _read_dag(name, raw, place, report)
    else:
        report.add(place, f"must be a list of agents or an object with steps, not {kind(raw)}")
        return WorkflowReading(None, report.problems, [])
    for agent_place, agent in agents:
        check_agent_name(agent_place, agent, report)
    return WorkflowReading(None if report.problems else spec, report.problems, agents)


def check_agent_name(place: str, agent: str, report: Report) -> None:
    if not is_name(agent):
        report.add(place, f"{agent!r} cannot be the name of an agent", NAME_RULE)


def _read_list(name: str, raw: list[Any], place: str, report: Report) -> tuple[WorkflowSpec, list[Placed]]:
    """One agent after the other; positions in the ids, since the same agent may occur twice."""
    agents = list(strings_of(raw, place, report))
    ids = [f"{number}-{agent}" for number, (_, agent) in enumerate(agents, 1)]
    steps = tuple(
        StepSpec(id=ids[index], agent=agent, dependencies=tuple(ids[max(index - 1, 0) : index]))
        for index, (_, agent) in enumerate(agents)
    )
    return WorkflowSpec(name=name, steps=steps, is_list=True), agents


@dataclass
class _Draft:
    """A step as declared, before its neighbours are known."""

    place: str
    id: str | None
    agent: str
    task: str | None
    dependencies: list[Placed] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)


def _read_dag(
    name: str, raw: Mapping[str, Any], place: str, report: Report
) -> tuple[WorkflowSpec, list[Placed]]:
    keys = Fields(raw, place, report)
    keys.warn_of_near_misses(WORKFLOW_KEYS)
    drafts = _read_steps(keys, raw.get("steps"), place, report)
    positions = _positions(drafts, report)
    _check_dependencies(drafts, positions, report)
    values = read_keys(keys, WORKFLOW_TABLE)
    spec = WorkflowSpec(
        name=name,
        steps=tuple(_step(draft) for draft in drafts),
        title=values["name"],
        description=values["description"],
        inputs=_inputs(keys, raw.get("inputs"), drafts, report),
        timeout_seconds=values["timeout_seconds"],
    )
    return spec, [(at(draft.place, "agent"), draft.agent) for draft in drafts if draft.agent]


def _read_steps(keys: Fields, raw: object, place: str, report: Report) -> list[_Draft]:
    if raw is None:
        report.add(place, "has no steps", 'write "steps": [{"agent": …, "task": …}]')
        return []
    if not isinstance(raw, list):
        report.add(keys.place("steps"), f"must be a list of steps, not {kind(raw)}")
        return []
    drafts = (_read_step(step, at(keys.place("steps"), index), report) for index, step in enumerate(raw))
    return [draft for draft in drafts if draft is not None]


def _read_step(raw: object, place: str, report: Report) -> _Draft | None:
    if not isinstance(raw, Mapping):
        report.add(place, f"must be an object, not {kind(raw)}", 'write {"agent": …, "task": …}')
        return None
    keys = Fields(raw, place, report)
    keys.warn_of_near_misses(STEP_KEYS)
    values = read_keys(keys, STEP_TABLE)
    if "agent" not in keys:
        report.add(place, "names no agent", 'add "agent"')
    return _Draft(
        place=place,
        id=_step_id(keys, values["id"], report) if "id" in keys else values["agent"],
        agent=values["agent"] or "",
        task=values["task"] or None,
        dependencies=_dependencies(keys, values, report),
        rest={key.name: found for key in STEP_SETTINGS if (found := values[key.name]) is not None},
    )


def _step_id(keys: Fields, id_: str | None, report: Report) -> str | None:
    if id_ is not None and not is_name(id_):
        report.add(keys.place("id"), f"{id_[:80]!r} cannot be the id of a step", NAME_RULE)
    return id_


def _dependencies(keys: Fields, values: Mapping[str, Any], report: Report) -> list[Placed]:
    spellings = [key for key in DEPENDENCY_KEYS if key in keys]
    for again in spellings[1:]:
        report.add(keys.place(again), f"means the same as {spellings[0]!r}", "keep one of them")
    return [placed for key in spellings for placed in values[key]]


def _step(draft: _Draft) -> StepSpec:
    dependencies = tuple(name for _, name in draft.dependencies)
    return StepSpec(draft.id or "", draft.agent, draft.task, dependencies, **draft.rest)


def _positions(drafts: Sequence[_Draft], report: Report) -> dict[str, int]:
    """Where each id stands; an id that is taken twice is reported where it comes again."""
    positions: dict[str, int] = {}
    for index, draft in enumerate(drafts):
        if draft.id is None:
            continue
        first = positions.setdefault(draft.id, index)
        if first != index:
            report.add(
                at(draft.place, "id"),
                f"the id {draft.id!r} is taken by {drafts[first].place}",
                "give each step an id of its own; without one it has its agent's name",
            )
    return positions


def _check_dependencies(drafts: Sequence[_Draft], positions: Mapping[str, int], report: Report) -> None:
    known = list(positions)
    graph: dict[str, list[str]] = {step: [] for step in known}
    for draft in drafts:
        seen: set[str] = set()
        for place, name in draft.dependencies:
            if name == draft.id:
                report.add(place, f"the step {name!r} waits for itself", "remove this dependency")
            elif name not in positions:
                report.add_unknown(place, f"there is no step {name!r} in this workflow", name, known)
            elif name in seen:
                report.add(place, f"{name!r} is named twice", "remove one of them")
            elif draft.id is not None:
                graph[draft.id].append(name)
            seen.add(name)
    _report_cycles(graph, drafts, positions, report)


def _report_cycles(
    graph: dict[str, list[str]], drafts: Sequence[_Draft], positions: Mapping[str, int], report: Report
) -> None:
    """Name cycles that share no step, one after the other."""
    for _ in range(_CYCLES_NAMED):
        cycle = find_cycle(graph)
        if cycle is None:
            return
        report.add(
            drafts[positions[cycle[0]]].place,
            f"these steps wait for each other: {_shown_cycle(cycle)}",
            "each waits for the next one; remove one of these dependencies",
        )
        for step in cycle[1:]:
            del graph[step]


def _shown_cycle(cycle: list[str]) -> str:
    if len(cycle) > 50:  # noqa: PLR2004  (what a person can follow)
        cycle = [*cycle[:25], f"… {len(cycle) - 50} more …", *cycle[-25:]]
    return " -> ".join(cycle)


def _inputs(
    keys: Fields, raw: object, drafts: Sequence[_Draft], report: Report
) -> tuple[tuple[str, str | None], ...]:
    """The declared inputs; where none are declared, those that the tasks name, and these must be given."""
    declared = None if raw is None else read_inputs(raw, keys.place("inputs"), report)
    undeclared: dict[str, None] = {}
    for draft in drafts:
        for name in input_names(draft.task or ""):
            if not is_name(name):
                report.add(
                    at(draft.place, "task"), f"{name[:80]!r} cannot be the name of an input", NAME_RULE
                )
            elif declared is None:
                undeclared[name] = None
            elif name not in declared:
                message = f"the input {name!r} is not declared in 'inputs'"
                report.add_unknown(at(draft.place, "task"), message, name, list(declared))
    return tuple((undeclared if declared is None else declared).items())
