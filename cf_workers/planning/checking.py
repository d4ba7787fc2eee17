"""Can everything that a project declares be executed?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cf_workers.errors import InputError, ProjectError
from cf_workers.planning.inputs import check_list_task, resolve_inputs
from cf_workers.planning.plans import Planned, plan_execution, plan_workflow
from cf_workers.planning.scheduled import scheduled_options, scheduled_workflow
from cf_workers.project import Problem, Project
from cf_workers.project.problems import at, project_error
from cf_workers.settings import Settings


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
