"""What does a tick of a schedule run, and how?"""

from __future__ import annotations

from cf_workers.planning.options import WorkflowOptions
from cf_workers.project import Project
from cf_workers.project.batch_files import batch_workflow
from cf_workers.schedules.spec import ScheduleSpec
from cf_workers.workflows.spec import WorkflowSpec


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
