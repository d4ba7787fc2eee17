"""What exactly will be executed? A workflow or an agent, with all that a project leaves open decided."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import Field, ValidationError

from cf_workers.agents.choice import AUTO
from cf_workers.agents.definition import AgentDefinition
from cf_workers.agents.estimate import is_priced
from cf_workers.agents.models import check_model
from cf_workers.budgets import Limit
from cf_workers.errors import ConfigError, InputError, ProjectError, TaskTooLongError
from cf_workers.project import Problem, Project, check_agents
from cf_workers.project.batch_files import batch_workflow
from cf_workers.project.budgets import RUN
from cf_workers.project.choosing import check_threshold, choose_model
from cf_workers.project.problems import at, project_error
from cf_workers.schedules.spec import ScheduleSpec
from cf_workers.settings import Settings
from cf_workers.wire import Payload
from cf_workers.workflows.inputs import full_task, input_names
from cf_workers.workflows.plan import Plan, PlannedStep
from cf_workers.workflows.spec import Lane, StepSpec, WorkflowSpec

log = logging.getLogger(__name__)


class ExecutionOptions(Payload):
    """What a caller may set for one execution; `None` means the agent's own setting, then the default."""

    model: str | None = None
    complexity: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    timeout_seconds: float | None = Field(None, gt=0)
    max_retries: int | None = Field(None, ge=0)
    cacheable: bool | None = None
    lane: Lane | None = None
    fail_fast: bool = False
    max_cost_usd: float | None = Field(None, ge=0)


@dataclass(frozen=True)
class WorkflowOptions:
    """What a caller may set for one run.

    Args:
        sequential: one step after the other, in the order of the graph.
        pass_output: whether steps see the outputs of others.
        lane: of steps that name none.
        fail_fast: steps fail where they would have to wait for admission: breaker, limits, budgets.
        max_cost_usd: the run's own budget; the project's for runs if not given.
    """

    sequential: bool = False
    pass_output: bool = True
    lane: Lane = "interactive"
    fail_fast: bool = False
    max_cost_usd: float | None = None


@dataclass(frozen=True)
class Planned:
    """A plan with the definitions it is pinned to, by digest.

    Args:
        limits: the budgets that apply to it; the run's own has the scope `run`, since it has no id yet.
    """

    plan: Plan
    definitions: Mapping[str, str]
    limits: tuple[Limit, ...] = ()


def read_options(options: Mapping[str, Any]) -> ExecutionOptions:
    """Check what a caller sets for one execution.

    Raises:
        InputError: an option is unknown or has a value that cannot be used.
    """
    try:
        return ExecutionOptions.model_validate(dict(options))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        known = ", ".join(ExecutionOptions.model_fields)
        raise InputError(
            f"options of an execution cannot be used: {wrong}", {"hint": f"options are {known}"}
        ) from None


def check_timeout(seconds: float | None) -> None:
    """Refuse a time-out that would end a run before it begins.

    Raises:
        InputError: it is not above 0.
    """
    if seconds is not None and not seconds > 0:
        raise InputError(
            f"a time-out of {seconds!r} seconds cannot be kept", {"hint": "give a number above 0"}
        )


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
    limits = _limits(project, settings, [agent], None, chosen.max_cost_usd)
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
    limits = _limits(project, settings, list(definitions), spec.name, chosen.max_cost_usd)
    return _planned(spec.name, steps, definitions, limits)


def check_project(project: Project, settings: Settings) -> None:
    """Make sure that every agent and every workflow of a project can be used.

    Raises:
        ProjectError: not all can; everything that is wrong is listed.
    """
    found = list(project.problems)
    for name in project.agent_names:
        found += _problems_of(project, at("agents", name), partial(plan_execution, name, project, settings))
    for name in project.workflow_names:
        found += _problems_of(project, at("workflows", name), partial(_plan_named, name, project, settings))
    for name in project.schedule_names:
        found += _problems_of(
            project, at("schedules", name), partial(_plan_scheduled, name, project, settings)
        )
    problems = list(dict.fromkeys(project.located(found)))
    if problems:
        raise project_error(
            f"the project {project.name!r}", sorted(problems, key=lambda problem: problem.line or 0)
        )


def scheduled_workflow(schedule: ScheduleSpec, project: Project) -> WorkflowSpec:
    """What a tick of a schedule runs.

    Raises:
        InputError: there is no such workflow, or it cannot be used; its batch file cannot be used.
    """
    if schedule.workflow is not None:
        return project.workflow(schedule.workflow)
    return batch_workflow(schedule.name, project.root / (schedule.batch or ""))


def scheduled_options(schedule: ScheduleSpec) -> WorkflowOptions:
    """How a tick of a schedule runs it."""
    return WorkflowOptions(lane=schedule.lane, max_cost_usd=schedule.max_cost_usd)


def _plan_scheduled(name: str, project: Project, settings: Settings) -> None:
    schedule = project.schedule(name)
    spec = scheduled_workflow(schedule, project)
    check_list_task(spec, schedule.task)
    resolve_inputs(spec, dict(schedule.inputs))
    plan_workflow(spec, project, settings, scheduled_options(schedule))


def _plan_named(name: str, project: Project, settings: Settings) -> Planned:
    return plan_workflow(project.workflow(name), project, settings)


def _problems_of(project: Project, place: str, plan: Callable[[], object]) -> list[Problem]:
    try:
        plan()
    except ProjectError as error:
        return [Problem(**problem) for problem in error.problems]
    except InputError as error:
        return [Problem(str(project.path), place, error.message, error.hint)]
    return []


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
    _check_prices(steps, limits)
    return Planned(
        Plan(workflow=name, steps=tuple(steps)),
        {definition.digest: definition.model_dump_json() for definition in definitions.values()},
        limits,
    )


def _limits(
    project: Project, settings: Settings, agents: Sequence[str], workflow: str | None, max_usd: float | None
) -> tuple[Limit, ...]:
    """The budgets that apply to a run: the caller's amount, then the environment's, then the project's."""
    given = settings.budgets
    amounts = {
        "namespace": given.namespace_usd,
        "day": given.day_usd,
        RUN: given.run_usd if max_usd is None else max_usd,
    }
    return project.budgets.applying(agents, workflow, amounts)


def _check_prices(steps: Iterable[PlannedStep], limits: Sequence[Limit]) -> None:
    """Refuse models with an unknown price where a budget applies: they would count as nothing.

    Raises:
        ConfigError: there is such a step.
    """
    if not limits:
        return
    agents = {limit.scope for limit in limits if limit.scope.startswith("agent:")}
    wide = len(agents) < len(limits)
    for model, agent in dict.fromkeys((step.model, step.agent) for step in steps):
        if (wide or f"agent:{agent}" in agents) and not is_priced(model):
            hint = "use a model with a known price, or remove the budgets that apply"
            raise ConfigError(
                f"no budget can hold for the model {model!r} (agent {agent!r}): its price is not known",
                {"hint": hint, "model": model},
            )


def _first(*values: Any) -> Any:
    """The first value that somebody has set."""
    return next((value for value in values if value is not None), None)
