"""What does a planned workflow compile to? Answered without a server, and nothing is sent."""

from __future__ import annotations

from typing import Any

from celery import Celery

from cf_workers.workflows.compiler import Compiler, describe
from cf_workers.workflows.plan import Plan, RunHeader


def compiled_document(plan: Plan) -> dict[str, Any]:
    """The compiled groups and chords with what can be known of them before a run.

    The critical path is that of steps which all take equally long.
    """
    app = Celery("cf_workers", set_as_current=False)
    compiler = Compiler(app, RunHeader.of_first_attempt("plan", plan))
    path, _ = plan.graph.critical_path(dict.fromkeys(plan.by_id, 1.0))
    return {
        "workflow_name": plan.workflow,
        "steps": len(plan.steps),
        "canvas": describe(compiler),
        "critical_path": path,
        "messages": len(plan.steps) + 1,
        "chosen_models": {
            step.id: {"model": step.model, "reason": step.chosen} for step in plan.steps if step.chosen
        },
    }
