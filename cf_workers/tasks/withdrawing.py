"""What becomes of a step whose message was revoked before anybody executed it?

Celery drops such a message and tells nobody but its result, so the record would wait for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from cf_workers.errors import UnknownRunError
from cf_workers.tasks import asking
from cf_workers.tasks.performing import after_commit
from cf_workers.tasks.runtime import Runtime
from cf_workers.wire import EXECUTE_STEP, RUN_AGENT
from cf_workers.workflows.plan import PlannedStep, RunHeader

log = logging.getLogger(__name__)


def withdraw(runtime: Runtime, task: str, task_id: str, args: Sequence[Any]) -> None:
    """End what a revoked message stood for: a step as cancelled, an execution as a whole.

    Does nothing while somebody executes it, and for tasks of others.
    """
    try:
        if task == EXECUTE_STEP:
            run, step, attempt = args
            header = runtime.store.header(run, attempt)
            _end(runtime, header, header.plan.by_id[step])
        elif task == RUN_AGENT:
            header = runtime.store.header(task_id, runtime.store.current_attempt(task_id))
            runtime.store.stop(task_id, "cancelled")
            _end(runtime, header, header.plan.steps[0])
            if runtime.store.finish(task_id, header.attempt)[0] == "ended":
                runtime.launcher.forget(header)
    except UnknownRunError:
        log.info("revoked.unknown task=%s id=%s", task, task_id)


def _end(runtime: Runtime, header: RunHeader, step: PlannedStep) -> None:
    heartbeat = runtime.heartbeat
    claim = runtime.store.claim(header, step, heartbeat.worker, may_take_over=heartbeat.may_take_over)
    if claim.verdict not in {"run", "skip", "cancel", "lost"}:
        return
    outcome = asking.withdrawn(step, attempts=claim.attempts)
    committed = runtime.store.commit(claim, outcome)
    if committed is not None:
        log.info("step.withdrawn run=%s step=%s", header.run, step.id)
        after_commit(runtime, header, step, committed)
