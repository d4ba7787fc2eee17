"""`cf-workers runs`: runs and single executions, by their ids."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from cf_workers.cli.clients import reached_client
from cf_workers.cli.execute import show_execution
from cf_workers.cli.output import (
    columns,
    cost_text,
    counted,
    notice,
    print_document,
    seconds_text,
    status_text,
)
from cf_workers.cli.report import run_report
from cf_workers.cli.run_workflow import conclude, detached, watched
from cf_workers.cli.session import Count, Noun, session

if TYPE_CHECKING:
    from cf_workers.cli.workforce import Workforce
    from cf_workers.client import Client

AGENT = "agent"
FINAL = frozenset({"succeeded", "failed", "cancelled"})


@click.group("runs", cls=Noun)
def runs() -> None:
    """Runs of workflows and single executions."""


@runs.command("list")
@click.option("--limit", type=Count(1, 1000), default=20, show_default=True)
@click.option("--offset", type=Count(min=0), default=0, help="Pass over so many newer ones.")
def list_runs(limit: int, offset: int) -> None:
    """List runs and executions, the newest first."""
    with reached_client() as client:
        found = client.history.newest(limit=limit, offset=offset)
    if session().json:
        print_document({"runs": [_entry(run) for run in found]})
        return
    if not found:
        notice("no runs yet")
        return
    columns(
        ("RUN", "WHAT", "STATUS", "STEPS", "AGE", "TOOK", "COST"),
        (
            (
                run["run_id"],
                run["workflow_name"],
                status_text(run["status"]),
                f"{run['steps_total'] - run['steps_left']}/{run['steps_total']}",
                seconds_text(time.time() - run["created_at"]) if run["created_at"] else "-",
                seconds_text(run["total_time_seconds"]),
                cost_text(run["estimated_cost"]),
            )
            for run in found
        ),
    )


@runs.command("show")
@click.argument("run")
def show(run: str) -> None:
    """Show what came of RUN so far."""
    with reached_client() as client:
        document = _document(client, run)
    if "agent_name" in document:
        show_execution(document)
    elif session().json:
        print_document(document)
    else:
        run_report(document)


@runs.command("watch")
@click.argument("run")
def watch(run: str) -> None:
    """Follow RUN until it has ended; ends as `run-workflow` does."""
    from cf_workers.cli.workforce import Workforce, queues_of

    with reached_client() as client:
        lanes = {step.lane for step in client.history.plan(run).steps}
        with Workforce(client, queues_of(lanes)) as workforce:
            if client.history.status(run) not in FINAL:
                workforce.require()
            _await(client, run, workforce)


@runs.command("explain")
@click.argument("run")
def explain(run: str) -> None:
    """Say what each step of RUN waits for and, where that is known, how long."""
    with reached_client() as client:
        found = client.operations.explain(run)
    if session().json:
        print_document({"success": True, **found.document()})
        return
    click.echo(f"{found.workflow} is {status_text(found.status)}{_and_waits(len(found.waits))}")
    if found.waits:
        columns(
            ("STEP", "STATUS", "FOR ANOTHER", "WAITS FOR"),
            ((one.step, one.status, _left(one.seconds), one.says) for one in found.waits),
        )


@runs.command("cancel")
@click.argument("run")
def cancel(run: str) -> None:
    """Stop RUN: nothing more is started, calls in flight are cut."""
    with reached_client() as client:
        before = client.history.status(run)
        status = before if before in FINAL else client.cancel(run)
    stopping = status not in FINAL
    if session().json:
        print_document({"success": True, "run_id": run, "status": status, "stopping": stopping})
    elif before in FINAL:
        notice(f"run {run} has ended already: {status}")
    else:
        click.echo(f"run {run} {'is stopping' if stopping else status}")


@runs.command("retry")
@click.argument("run")
@click.option("--detach", is_flag=True, help="Return at once.")
def retry(run: str, detach: bool) -> None:
    """Run again what did not succeed in RUN, and wait for it."""
    from cf_workers.cli.workforce import Workforce, queues_of

    with reached_client() as client:
        client.check_retry(run)
        lanes = {step.lane for step in client.history.plan(run).steps}
        with Workforce(client, queues_of(lanes)) as workforce:
            if not detach:
                workforce.require()
            client.retry(run)
            if detach:
                workforce.warn_if_missing()
                detached(client, run)
            else:
                _await(client, run, workforce)


def _await(client: Client, run: str, workforce: Workforce) -> None:
    document = watched(client, run, workforce)
    if document["kind"] != AGENT:
        conclude(document)
        return
    execution = client.history.execution(run)
    show_execution(execution)
    if not execution["success"]:
        click.get_current_context().exit(1)


def _document(client: Client, run: str) -> Mapping[str, Any]:
    document = client.history.document(run)
    return client.history.execution(run) if document["kind"] == AGENT else document


def _and_waits(steps: int) -> str:
    return f"; {counted(steps, 'step')} left" if steps else ": nothing waits"


def _left(seconds: float | None) -> str:
    return "-" if seconds is None else "due" if seconds == 0 else seconds_text(seconds)


def _entry(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a listing knows: everything but the steps."""
    return {
        name: value for name, value in run.items() if name not in {"results", "execution_order", "success"}
    }
