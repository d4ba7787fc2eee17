"""What exactly will be executed? A workflow or an agent, with all that a project leaves open decided."""

from cf_workers.planning.checking import check_project
from cf_workers.planning.inputs import check_list_task, check_task, resolve_inputs
from cf_workers.planning.limits import declared_limits
from cf_workers.planning.options import ExecutionOptions, WorkflowOptions, check_timeout, read_options
from cf_workers.planning.plans import (
    Planned,
    check_execution,
    plan_execution,
    plan_workflow,
    record_options,
)
from cf_workers.planning.scheduled import scheduled_options, scheduled_workflow

__all__ = [
    "ExecutionOptions",
    "Planned",
    "WorkflowOptions",
    "check_execution",
    "check_list_task",
    "check_project",
    "check_task",
    "check_timeout",
    "declared_limits",
    "plan_execution",
    "plan_workflow",
    "read_options",
    "record_options",
    "resolve_inputs",
    "scheduled_options",
    "scheduled_workflow",
]
