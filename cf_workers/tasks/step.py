"""The tasks of a workflow's run: one a step, and one that ends the run."""

from __future__ import annotations

import logging
from typing import Any

from celery.exceptions import Ignore

from cf_workers.errors import CfWorkersError, RunCancelledError, RunFailedError, UnknownRunError
from cf_workers.tasks import runtime as runtimes
from cf_workers.tasks.app import app
from cf_workers.tasks.base import AgentTask
from cf_workers.tasks.performing import perform
from cf_workers.wire import EXECUTE_STEP, FINISH_RUN

log = logging.getLogger(__name__)


@app.task(bind=True, base=AgentTask, name=EXECUTE_STEP, ignore_result=True)
def execute_step(self: AgentTask, run: str, step: str, attempt: int) -> None:
    """Execute one step of a run, and release what it makes ready.

    The message says nothing but which step of which attempt; everything else is read from the run's record.

    Raises:
        ExecutionError: the step failed; its outcome has been committed and released before.
    """
    runtime = runtimes.current()
    try:
        header = runtime.outlast("read", lambda: runtime.store.header(run, attempt))
    except UnknownRunError:
        log.info("step.passed_over run=%s step=%s verdict=gone", run, step)
        return
    performed = perform(self, runtime, header, header.plan.by_id[step])
    if performed.revoked:
        raise Ignore("revoked")
    if performed.error is not None:
        raise performed.error from None


@app.task(
    name=FINISH_RUN, ignore_result=False, acks_late=True, throws=(CfWorkersError,), resultrepr_maxsize=60
)
def finish_run(run: str, attempt: int) -> dict[str, Any]:
    """End a run. Its result is that of the run: `AsyncResult(run).get()`.

    Returns:
        The run's document without outputs.

    Raises:
        RunFailedError: a step failed, or the run took too long.
        RunCancelledError: it was cancelled.
    """
    runtime = runtimes.current()
    status, document = runtime.outlast("finish", lambda: _finish(runtime, run, attempt))
    if status == "succeeded":
        return document
    raise run_error(document)


def _finish(runtime: runtimes.Runtime, run: str, attempt: int) -> tuple[str, dict[str, Any]]:
    verdict, status = runtime.store.finish(run, attempt)
    if verdict not in {"ended", "already"}:
        raise Ignore(verdict)
    if verdict == "ended":
        log.info("run.finished run=%s status=%s", run, status)
    runtime.launcher.forget(runtime.store.header(run, attempt))
    return status, runtime.history.document(run, outputs=False)


def run_error(document: dict[str, Any]) -> CfWorkersError:
    """The error that stands for a run which did not succeed."""
    run, name = document["run_id"], document["workflow_name"]
    details = {"run": run, "hint": f"see `cf-workers runs show {run}`; `cf-workers runs retry {run}` goes on"}
    if document["status"] == "cancelled":
        return RunCancelledError(f"run {run!r} of {name!r} was cancelled", details)
    failed, cancelled = (
        [step for step, result in document["results"].items() if result["status"] == status]
        for status in ("failed", "cancelled")
    )
    what = f"{len(failed)} of {document['steps_total']} steps failed: {', '.join(failed[:5])}"
    if not failed:
        what = f"steps were revoked: {', '.join(cancelled[:5])}"
    if document["stopping"] == "timeout":
        what = "it took longer than its time-out"
    return RunFailedError(f"run {run!r} of {name!r} failed: {what}", {**details, "failed_steps": failed})
