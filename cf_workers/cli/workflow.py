"""`cf-workers workflow`: what workflows there are, what is wrong with them, and what they compile to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cf_workers.cli.clients import opened_client
from cf_workers.cli.completion import workflow_names
from cf_workers.cli.output import columns, counted, notice, print_document, styled
from cf_workers.cli.session import Noun, session

if TYPE_CHECKING:
    from cf_workers.workflows.spec import StepSpec, WorkflowSpec


@click.group("workflow", cls=Noun)
def workflow() -> None:
    """The workflows of the project."""


@workflow.command("list")
def list_workflows() -> None:
    """List the workflows, usable or not."""
    from cf_workers.errors import ProjectError

    project = opened_client().project
    entries: list[dict[str, Any]] = []
    for name in project.workflow_names:
        try:
            entries.append(_entry(project.workflow(name)))
        except ProjectError as error:
            entries.append({"name": name, "valid": False, "problems": error.problems})
    if session().json:
        print_document({"workflows": entries})
        return
    if not entries:
        notice(f"no workflows in {project.path}")
        return
    rows = [_row(entry) for entry in entries]
    columns(("WORKFLOW", "STEPS", "KIND", "TITLE"), rows)


@workflow.command("show")
@click.argument("name", metavar="NAME|FILE", shell_complete=workflow_names)
@click.option("--mermaid", is_flag=True, help="As a Mermaid flow chart.")
def show(name: str, mermaid: bool) -> None:
    """Show a workflow: its steps, what they wait for, its inputs."""
    spec = opened_client().workflow(name)
    if mermaid and not session().json:
        click.echo(draw(spec))
        return
    if session().json:
        steps = [_step(step) for step in spec.steps]
        document = {**_entry(spec), "inputs": dict(spec.inputs), "steps": steps}
        print_document({**document, "mermaid": draw(spec)} if mermaid else document)
        return
    title = f"  {spec.title}" if spec.title else ""
    click.echo(f"{styled(spec.name, bold=True)}{title}")
    if spec.description:
        click.echo(spec.description)
    for input_, default in spec.inputs:
        click.echo(f"input {input_}{' (required)' if default is None else f' = {default}'}")
    click.echo()
    columns(
        ("STEP", "AGENT", "WAITS FOR", "TASK"),
        (
            (step.id, step.agent, ", ".join(step.dependencies) or "-", _one_line(step.task))
            for step in spec.steps
        ),
    )


@workflow.command("validate")
@click.argument("name", metavar="[NAME|FILE]", required=False, shell_complete=workflow_names)
def validate(name: str | None) -> None:
    """Check one workflow, or the whole project; every problem is listed."""
    from cf_workers.planning import check_project, plan_workflow

    client = opened_client()
    checked = [name] if name is not None else list(client.project.workflow_names)
    if name is None:
        check_project(client.project, client.settings)
    else:
        plan_workflow(client.workflow(name), client.project, client.settings)
    if session().json:
        print_document(
            {"success": True, "file": str(client.project.path), "workflows": checked, "problems": []}
        )
        return
    agents = "" if name is not None else f" and {counted(len(client.project.agent_names), 'agent')}"
    what = f"{counted(len(checked), 'workflow')}{agents}" if name is None else name
    click.echo(f"{what}: no problems")


@workflow.command("plan")
@click.argument("name", metavar="NAME|FILE", shell_complete=workflow_names)
@click.option("--sequential", is_flag=True, help="As `run-workflow --sequential` would run it.")
@click.option("--cost", is_flag=True, help="What it would cost and take; needs the server.")
@click.option("--task", help="As for `run-workflow`, to foresee cache hits.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="As for `run-workflow`.")
def plan(name: str, sequential: bool, cost: bool, task: str | None, inputs: Sequence[str]) -> None:
    """Print what a workflow compiles to: groups, chords, critical path; with --cost a quote."""
    from cf_workers.cli.quote import quote_document, show_quote
    from cf_workers.cli.run_workflow import read_inputs
    from cf_workers.client import compiled_document
    from cf_workers.planning import WorkflowOptions, plan_workflow

    values = read_inputs(inputs)
    options = WorkflowOptions(sequential=sequential)
    with opened_client() as client:
        spec = client.workflow(name)
        planned = plan_workflow(
            spec, client.project, client.settings, options, task=task, inputs={**_defaults(spec), **values}
        )
        document = compiled_document(planned.plan)
        quote = client.quote(spec, task, inputs=values, options=options) if cost else None
    if session().json:
        priced = {} if quote is None else {"quote": quote_document(quote)}
        print_document({"success": True, **document, **priced})
        return
    _show_plan(document)
    if quote is not None:
        show_quote(quote)


def _defaults(spec: WorkflowSpec) -> dict[str, str]:
    return {name: value for name, value in spec.inputs if value is not None}


def _show_plan(document: dict[str, Any]) -> None:
    click.echo(styled(f"{document['workflow_name']}: {counted(document['steps'], 'step')}", bold=True))
    for line in document["canvas"]:
        click.echo(f"  {line}")
    path = document["critical_path"]
    click.echo(f"critical path: {' -> '.join(path) or '-'} ({counted(len(path), 'step')})")
    click.echo(f"messages: {document['messages']}, one a step and one for the end of the run")
    for step, choice in document["chosen_models"].items():
        click.echo(f"model of {step}: {choice['model']} ({choice['reason']})")


def draw(spec: WorkflowSpec) -> str:
    """The graph as a Mermaid flow chart; ids of its own, since some words are reserved there."""
    numbers = {step.id: f"s{n}" for n, step in enumerate(spec.steps)}
    nodes = [f"    {numbers[step.id]}[{json.dumps(_label(step))}]" for step in spec.steps]
    edges = [f"    {numbers[dep]} --> {numbers[step.id]}" for step in spec.steps for dep in step.dependencies]
    return "\n".join(["flowchart TD", *nodes, *edges])


def _label(step: StepSpec) -> str:
    return step.id if step.agent == step.id else f"{step.id} ({step.agent})"


def _entry(spec: WorkflowSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "title": spec.title,
        "description": spec.description,
        "kind": "list" if spec.is_list else "dag",
        "steps_total": len(spec.steps),
        "valid": True,
        "problems": [],
    }


def _row(entry: dict[str, Any]) -> tuple[str, str, str, str]:
    if not entry["valid"]:
        found = counted(len(entry["problems"]), "problem")
        return entry["name"], "-", styled("unusable", fg="red"), f"{found}: cf-workers workflow validate"
    return entry["name"], str(entry["steps_total"]), entry["kind"], entry["title"] or ""


def _step(step: StepSpec) -> dict[str, Any]:
    return {name: getattr(step, name) for name in step.__dataclass_fields__}


def _one_line(text: str | None) -> str:
    line = " ".join((text or "the task of the run").split())
    return line if len(line) <= 60 else f"{line[:59]}…"  # noqa: PLR2004
