"""What does the record of new work say, and which message goes with it?"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from celery import Celery, Signature

from cf_workers.planning import ExecutionOptions, Planned, WorkflowOptions, record_options
from cf_workers.wire import RUN_AGENT
from cf_workers.workflows.record import NewRun


def new_execution(
    app: Celery,
    task: str,
    planned: Planned,
    options: ExecutionOptions,
    idempotency_key: str | None,
) -> tuple[Signature, NewRun]:
    """The message of an execution, and the record to be made before it is sent."""
    execution = uuid4().hex
    (step,) = planned.plan.steps
    message = app.signature(
        RUN_AGENT,
        args=(step.agent,),
        options={
            "task_id": execution,
            "queue": step.queue,
            "argsrepr": f"agent={step.agent}",
            "kwargsrepr": "{}",
        },
    )
    new = NewRun(
        run=execution,
        kind="agent",
        plan=planned.plan,
        task=task,
        options=record_options(execution, planned, options),
        idempotency_key=idempotency_key,
        message=dict(message),
    )
    return message, new


def new_run(
    planned: Planned,
    task: str | None,
    inputs: Mapping[str, str],
    options: WorkflowOptions | None,
    *,
    timeout_seconds: float | None,
    idempotency_key: str | None,
) -> NewRun:
    """The record of a run of a workflow, whose messages the launcher makes."""
    run = uuid4().hex
    return NewRun(
        run=run,
        kind="workflow",
        plan=planned.plan,
        task=task,
        inputs=inputs,
        options=record_options(run, planned, options),
        timeout_seconds=timeout_seconds,
        idempotency_key=idempotency_key,
    )
