"""`cf-workers run-workflow`: one workflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from cf_workers.cli.completion import workflow_names
from cf_workers.cli.output import notice, print_document
from cf_workers.cli.report import run_report
from cf_workers.cli.session import LANES, Amount, Verb, session
from cf_workers.errors import InputError

if TYPE_CHECKING:
    from cf_workers.cli.workforce import Workforce
    from cf_workers.client import Client


@click.command("run-workflow", cls=Verb)
@click.argument("workflow", metavar="NAME|FILE", shell_complete=workflow_names)
@click.option("--task", help="Shown to every step; needed by workflows that are plain lists.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="Fills {{ inputs.NAME }}.")
@click.option("--parallel/--sequential", default=True, help="Whether independent steps run at once.")
@click.option("--pass-output/--no-pass-output", default=True, help="Whether steps see others' outputs.")
@click.option("--lane", type=click.Choice(LANES), help="Of steps that name none; `batch` is half the price.")
@click.option("--fail-fast", is_flag=True, help="Fail rather than wait for breaker or limits.")
@click.option("--detach", is_flag=True, help="Print the id and return at once.")
@click.option("--timeout", type=Amount(min=0, min_open=True), metavar="SECONDS", help="Of the run.")
@click.option("--max-cost", type=Amount(min=0), metavar="DOLLARS", help="Budget of the run; it parks beyond.")
def run_workflow(workflow: str, task: str | None, inputs: Sequence[str], **chosen: Any) -> None:
    """Run a workflow of the project, or of a JSON file, and print the results of its steps."""
    values = read_inputs(inputs)
    from cf_workers.cli.workforce import Workforce, queues_of
    from cf_workers.client import Client
    from cf_workers.planning import WorkflowOptions

    options = WorkflowOptions(
        sequential=not chosen["parallel"],
        pass_output=chosen["pass_output"],
        lane=chosen["lane"] or "interactive",
        fail_fast=chosen["fail_fast"],
        max_cost_usd=chosen["max_cost"],
    )
    with Client(config=session().config, announce=notice) as client:
        planned = client.check_workflow(workflow, task, inputs=values, options=options)
        for step in planned.plan.steps:
            if step.chosen is not None:
                notice(f"model of {step.id}: {step.model} ({step.chosen})")
        with Workforce(client, queues_of(step.lane for step in planned.plan.steps)) as workforce:
            if not chosen["detach"]:
                workforce.require()
            run = client.start_workflow(
                workflow, task, inputs=values, timeout_seconds=chosen["timeout"], options=options
            )
            if chosen["detach"]:
                workforce.warn_if_missing()
                return detached(client, run.id)
            document = watched(client, run.id, workforce)
    return conclude(document)


def read_inputs(pairs: Sequence[str]) -> dict[str, str]:
    """The values of `--input NAME=VALUE`.

    Raises:
        InputError: one is not of that form, or is given twice.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InputError(f"--input {pair!r} is not NAME=VALUE", {"hint": "for example --input path=src"})
        if name in values:
            raise InputError(f"the input {name!r} is given twice", {"hint": "give it once"})
        values[name] = value
    return values


def watched(client: Client, run: str, workforce: Workforce | None) -> Mapping[str, Any]:
    """Show a run until it has ended; the document of what came of it."""
    from cf_workers.cli.progress import follow, interruptible

    with interruptible(run, workforce):
        follow(client, run, workforce)
        return client.history.document(run)


def detached(client: Client, run: str) -> None:
    """Tell the id of a run that nobody waits for."""
    document = client.history.document(run, outputs=False)
    if session().json:
        print_document({**document, "success": True})
        return
    click.echo(run)
    notice(f"follow it with `cf-workers runs watch {run}`")


def conclude(document: Mapping[str, Any]) -> None:
    """Print what came of a run, and end with 1 unless it succeeded."""
    if session().json:
        print_document(document)
    else:
        run_report(document)
    if not document["success"]:
        click.get_current_context().exit(1)
