"""The task that runs one agent: an ordinary Celery task, for anybody's own canvas."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from celery.exceptions import Ignore
from kombu.utils import json as kombu_json

from cf_workers.errors import CancelledError, InputError, UnknownRunError
from cf_workers.planning import check_task, read_options, record_options
from cf_workers.tasks import runtime as runtimes
from cf_workers.tasks.app import app
from cf_workers.tasks.base import AgentTask
from cf_workers.tasks.performing import Performed, perform
from cf_workers.tasks.request import identify
from cf_workers.tasks.runtime import Runtime
from cf_workers.wire import RUN_AGENT
from cf_workers.workflows.plan import RunHeader
from cf_workers.workflows.record import NewRun


class RunAgentTask(AgentTask):
    """Shows the agent in its arguments' representation, and never the prompt or the answer."""

    abstract = True
    resultrepr_maxsize = 64  # of the result, logs and events show what stands before the output

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Publish as any task; the prompt stays out of events and logs."""
        options.setdefault("argsrepr", identify(args or ()))
        options.setdefault("kwargsrepr", "{}")
        return super().apply_async(args, kwargs, **options)


@app.task(bind=True, base=RunAgentTask, name=RUN_AGENT, ignore_result=False)
def run_agent(self: AgentTask, *args: Any, **options: Any) -> dict[str, Any]:
    """Run one agent: `run_agent.delay("python-expert", "Explain decorators")`.

    In a chain the previous result comes first, in a chord's body the list of results. Outputs of earlier
    executions are shown to the agent beside its task:
    `chain(run_agent.s("researcher", "Find …"), run_agent.s("writer", "Write it up"))`.

    Args:
        args: the agent's name and the task, after the previous result or results, if any.
        options: `model`, `complexity`, `max_tokens`, `timeout_seconds`, `max_retries`, `cacheable`,
            `fail_fast`, `max_cost_usd`.

    Returns:
        The document that `cf-workers execute --json` prints.

    Raises:
        InputError: unknown agent, wrong arguments, a task that is too long.
        ExecutionError: the agent gave no usable answer.
    """
    runtime = runtimes.current()
    header = runtime.outlast("record", lambda: _header(self, runtime, args, options))
    performed = perform(self, runtime, header, header.plan.steps[0])
    if performed.verdict in {"held", "waiting", "stale"}:
        raise Ignore(performed.verdict)
    status, document = runtime.outlast("finish", lambda: _finish(runtime, header, performed))
    if performed.revoked:
        raise Ignore("revoked")
    if performed.error is not None:
        raise performed.error from None
    if status == "cancelled":
        raise CancelledError(f"execution {header.run!r} was cancelled", {"execution": header.run})
    if not document["success"]:
        raise runtime.history.execution_error(header.run)
    return document


def _finish(runtime: Runtime, header: RunHeader, performed: Performed) -> tuple[str, dict[str, Any]]:
    if performed.revoked:
        runtime.store.stop(header.run, "cancelled")
    verdict, status = runtime.store.finish(header.run, header.attempt)
    if verdict == "ended":
        runtime.launcher.forget(header)
    return status, runtime.history.execution(header.run)


def _header(task: AgentTask, runtime: Runtime, args: Sequence[Any], options: Mapping[str, Any]) -> RunHeader:
    """The record of this execution; made now unless the producer or an earlier delivery has made it."""
    run = str(task.request.id)
    try:
        return runtime.store.current_header(run)
    except UnknownRunError:
        previous, agent, text = read_arguments(args)
    check_task(text, runtime.max_task_chars)
    chosen = read_options(options)
    planned = runtime.plan_execution(agent, chosen, text)
    shown = {"argsrepr": identify(args), "kwargsrepr": "{}"}  # whoever sends it again may not know the task
    message = task.signature_from_request(task.request, retries=0, **shown)
    runtime.launcher.record(
        NewRun(
            run=run,
            kind="agent",
            plan=planned.plan,
            task=text,
            options={"previous": previous, **record_options(run, planned, chosen)},
            message=json.loads(kombu_json.dumps(message)),
        ),
        planned.definitions,
    )
    return runtime.store.header(run, 1)


def read_arguments(args: Sequence[Any]) -> tuple[list[dict[str, str]], str, str]:
    """Previous outputs, agent and task from what a canvas hands over.

    Raises:
        InputError: there are too few or too many, or they are not text.
    """
    rest = list(args)
    previous: list[dict[str, str]] = []
    while rest and not isinstance(rest[0], str):
        found = rest.pop(0)
        for result in found if isinstance(found, list) else [found]:
            if not isinstance(result, Mapping) or not {"agent_name", "output"} <= result.keys():
                raise InputError(
                    f"run_agent got a previous result ({type(result).__name__}) that is not one of its own",
                    {"hint": "use .si(…) to leave the previous result out"},
                )
            previous.append({"agent": str(result["agent_name"]), "output": str(result["output"])})
    if len(rest) != 2 or not all(isinstance(value, str) for value in rest):  # noqa: PLR2004
        raise InputError(
            "run_agent takes the agent's name and a task, both text",
            {"hint": 'run_agent.delay("python-expert", "Explain decorators")'},
        )
    return previous, rest[0], rest[1]
