"""What does an agent or a workflow become when all that was left open is decided?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from cf_workers.agents.choice import AUTO
from cf_workers.agents.definition import AgentDefinition
from cf_workers.agents.models import check_model
from cf_workers.budgets import Limit
from cf_workers.errors import InputError, ProjectError
from cf_workers.planning.inputs import check_task
from cf_workers.planning.limits import applying_limits, check_prices
from cf_workers.planning.options import ExecutionOptions, WorkflowOptions
from cf_workers.project import Project, check_agents
from cf_workers.project.budgets import RUN
from cf_workers.project.choosing import check_threshold, choose_model
from cf_workers.settings import Settings
from cf_workers.workflows.inputs import full_task, input_names
from cf_workers.workflows.plan import Plan, PlannedStep
from cf_workers.workflows.spec import StepSpec, WorkflowSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planned:
    """A plan with the definitions it is pinned to, by digest.

    Args:
        limits: the budgets that apply to it; the run's own has the scope `run`, since it has no id yet.
    """

    plan: Plan
    definitions: Mapping[str, str]
    limits: tuple[Limit, ...] = ()


def check_execution(
    agent: str, task: str, project: Project, settings: Settings, options: ExecutionOptions | None = None
) -> Planned:
    """Plan one execution of an agent on a task.

    Raises:
        InputError: the input cannot work.
    """
    check_task(task, settings.max_task_chars)
    if not task.strip():
        raise InputError("the task is empty", {"hint": "say what the agent is to do"})
    return plan_execution(agent, project, settings, options, task=task)


def plan_execution(
    agent: str,
    project: Project,
    settings: Settings,
    options: ExecutionOptions | None = None,
    *,
    task: str = "",
) -> Planned:
    """Plan one execution of an agent: a plan of one step that bears the agent's name.

    Args:
        task: by which a model is chosen where none is named.

    Raises:
        UnknownAgentError: the project has no such agent.
        ProjectError: the agent cannot be used.
        ConfigError: its model is retired.
    """
    chosen = options or ExecutionOptions()
    definition = project.agent(agent)
    step = StepSpec(id=agent, agent=agent, **chosen.model_dump(exclude={"fail_fast", "max_cost_usd"}))
    planned = _plan_step(step, definition, project, settings, digest=definition.digest, task=task)
    limits = applying_limits(project, settings, [agent], None, chosen.max_cost_usd)
    return _planned(agent, [planned], {agent: definition}, limits)


def plan_workflow(
    spec: WorkflowSpec,
    project: Project,
    settings: Settings,
    options: WorkflowOptions | None = None,
    *,
    task: str | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Planned:
    """Plan a run of a workflow.

    Args:
        task: by it and the steps' own tasks models are chosen where none are named.
        inputs: those that are missing count as empty.

    Raises:
        ProjectError: agents of it are unknown or cannot be used; all of them are named.
        TaskTooLongError: the task of a step is too long.
        ConfigError: a model is retired.
    """
    chosen = options or WorkflowOptions()
    if problems := check_agents(spec, project):
        raise ProjectError(
            f"workflow {spec.name!r} cannot run: {len(problems)} of its agents cannot be used",
            {"problems": [problem.as_dict() for problem in problems]},
        )
    definitions = {name: project.agent(name) for name in dict.fromkeys(step.agent for step in spec.steps)}
    digests = {name: definition.digest for name, definition in definitions.items()}
    steps = []
    for step in spec.steps:
        check_task(step.task, settings.max_task_chars)
        text = _task_so_far(step, task, inputs or {})
        planned = _plan_step(
            step, definitions[step.agent], project, settings, digest=digests[step.agent], task=text
        )
        steps.append(
            planned.model_copy(update={"passes": chosen.pass_output, "lane": step.lane or chosen.lane})
        )
    if chosen.sequential:
        steps = _one_after_the_other(spec.name, steps)
    limits = applying_limits(project, settings, list(definitions), spec.name, chosen.max_cost_usd)
    return _planned(spec.name, steps, definitions, limits)


def record_options(
    run: str, planned: Planned, options: ExecutionOptions | WorkflowOptions | None
) -> dict[str, Any]:
    """What a run's record keeps of its options: that which is not part of the plan."""
    kept: dict[str, Any] = {"fail_fast": True} if options is not None and options.fail_fast else {}
    if planned.limits:
        own = (
            replace(limit, scope=f"run:{run}") if limit.scope == RUN else limit for limit in planned.limits
        )
        kept["budgets"] = [limit.as_json() for limit in own]
    return kept


def _plan_step(
    step: StepSpec,
    definition: AgentDefinition,
    project: Project,
    settings: Settings,
    *,
    digest: str,
    task: str,
) -> PlannedStep:
    named = step.model or (AUTO if step.complexity else None)
    model = _first(named, definition.model, settings.agents.model)
    chosen = choose_model(step, project, task) if model == AUTO else None
    model = chosen.model if chosen else model
    if warning := check_model(model, datetime.now(UTC).date()):
        log.warning("model.warning model=%s %s", model, warning)
    pinned = settings.agents.max_retries if "max_retries" in project.performance.declared else None
    planned = PlannedStep(
        id=step.id,
        agent=step.agent,
        definition=digest,
        model=model,
        max_tokens=_first(step.max_tokens, definition.max_tokens, settings.agents.max_tokens),
        timeout_seconds=_first(
            step.timeout_seconds, definition.timeout_seconds, settings.agents.timeout_seconds
        ),
        max_retries=_first(step.max_retries, definition.max_retries, pinned),
        lane=step.lane or "interactive",
        task=step.task,
        dependencies=step.dependencies,
        rule=step.rule,
        allow_failure=step.allow_failure,
        cacheable=_first(step.cacheable, definition.cacheable, _excluded(step.agent, project)),
        chosen=str(chosen) if chosen else None,
        most_nanos=project.models.max_nanos if chosen else None,
    )
    check_threshold(planned, definition, task)
    return planned


def _task_so_far(step: StepSpec, task: str | None, inputs: Mapping[str, str]) -> str:
    """What a step is asked, as far as it is known before the run."""
    values = {name: inputs.get(name, "") for name in input_names(step.task or "")}
    return full_task(step.task, values, task)


def _excluded(agent: str, project: Project) -> bool | None:
    """False for an agent whose answers the project never keeps, wherever the worker runs."""
    return False if agent in project.cache.exclude_agents or not project.cache.enabled else None


def _one_after_the_other(workflow: str, steps: list[PlannedStep]) -> list[PlannedStep]:
    order = Plan(workflow=workflow, steps=tuple(steps)).graph.order
    before = dict(zip(order[1:], order, strict=False))
    return [
        step.model_copy(update={"after": (before[step.id],) if step.id in before else ()}) for step in steps
    ]


def _planned(
    name: str, steps: list[PlannedStep], definitions: Mapping[str, AgentDefinition], limits: tuple[Limit, ...]
) -> Planned:
    check_prices(steps, limits)
    return Planned(
        Plan(workflow=name, steps=tuple(steps)),
        {definition.digest: definition.model_dump_json() for definition in definitions.values()},
        limits,
    )


def _first(*values: Any) -> Any:
    """The first value that somebody has set."""
    return next((value for value in values if value is not None), None)
