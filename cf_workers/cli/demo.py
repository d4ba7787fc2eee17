"""`cf-workers demo`: a tour that needs no key, no server and no project."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import click

from cf_workers.cli.output import cost_text, notice, print_document, seconds_text, styled, warn
from cf_workers.cli.report import run_report, timing
from cf_workers.cli.session import Verb, session
from cf_workers.errors import ConfigError, InputError

if TYPE_CHECKING:
    from cf_workers.client import Client
    from cf_workers.planning import Planned

WORKFLOW = "code-quality-check"
SUBJECT = "cf_workers/workflows/graph.py"
PROMPT_FRAME_CHARACTERS = 1_000
"""What the prompt says around the task and the outputs of earlier steps."""


@click.command("demo", cls=Verb)
@click.option(
    "--real", is_flag=True, help="Ask the real API with ANTHROPIC_API_KEY; says first what it costs."
)
@click.option("--yes", is_flag=True, help="With --real: do not ask.")
def demo(real: bool, yes: bool) -> None:
    """Run three checks of a source file at the same time and a review of their findings.

    A server, a worker and a stand-in for the Anthropic API are started for it and stopped after it.
    """
    task = subject_task()
    notice(f"{WORKFLOW}: three agents check {SUBJECT} at the same time, a fourth weighs what they found.")
    if real:
        _ask_first(task, yes=yes)
    else:
        warn("SIMULATED: a stand-in on this machine answers; no model is asked and nothing is paid.")
    from cf_workers.cli.stage import stage

    began = time.monotonic()
    with stage(real=real, say=notice) as client:
        document, canvas = _play(client, task)
        notice("stopping what was started")
    told = {
        "success": document["success"],
        "simulated": not real,
        "plan": canvas,
        "timing": timing(document),
        "run": document,
    }
    if session().json:
        print_document(told)
    else:
        _report(told, seconds=time.monotonic() - began)
    if not document["success"]:
        click.get_current_context().exit(1)


def subject_task() -> str:
    """The file that is checked, as the task of the run."""
    text = (files("cf_workers") / "workflows" / "graph.py").read_text("utf-8")
    return f"The file is {SUBJECT}:\n\n```python\n{text}```\n"


def estimate(planned: Planned, task: str) -> tuple[int, int, float | None]:
    """Tokens of prompts, tokens of answers and US dollars if every answer is as long as it may be.

    The cost is `None` where a price is unknown.
    """
    from cf_workers.agents.definition import AgentDefinition, Usage
    from cf_workers.agents.estimate import CHARACTERS_A_TOKEN
    from cf_workers.agents.prices import cost_usd

    prompts = answers = 0
    total: float | None = 0.0
    longest = {step.id: step.max_tokens for step in planned.plan.steps}
    for step in planned.plan.steps:
        agent = AgentDefinition.model_validate_json(planned.definitions[step.definition])
        characters = sum(len(text or "") for text in (agent.text, agent.contract, step.task, task))
        before = sum(longest[name] for name in step.dependencies)
        asked = (characters + PROMPT_FRAME_CHARACTERS) // CHARACTERS_A_TOKEN + before
        cost = cost_usd(step.model, Usage(input_tokens=asked, output_tokens=step.max_tokens))
        prompts, answers = prompts + asked, answers + step.max_tokens
        total = None if cost is None or total is None else total + float(cost)
    return prompts, answers, total


def _ask_first(task: str, *, yes: bool) -> None:
    """Say what the real thing costs, and make sure that it is wanted.

    Raises:
        ConfigError: there is no key.
        InputError: nobody is there to be asked.
        Abort: the answer is no.
    """
    if not (os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("ANTHROPIC_AUTH_TOKEN")):
        raise ConfigError("--real needs a key", {"hint": "set ANTHROPIC_API_KEY, or leave --real out"})
    from cf_workers.cli.stage import PROJECT
    from cf_workers.client import Client

    planned = Client(PROJECT).check_workflow(WORKFLOW, task)
    prompts, answers, cost = estimate(planned, task)
    price = "an unknown amount" if cost is None else f"at most about {cost_text(cost)}"
    model = planned.plan.steps[0].model
    notice(f"This asks {model} for real: about {prompts:,} tokens in, at most {answers:,} out, {price}.")
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("nobody is there to be asked", {"hint": "add --yes to spend that"})
    click.confirm("Go on?", abort=True, err=True)


def _play(client: Client, task: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    from cf_workers.cli.progress import follow
    from cf_workers.client import compiled_document

    planned = client.check_workflow(WORKFLOW, task)
    run = client.start_workflow(WORKFLOW, task)
    follow(client, run.id)
    return client.history.document(run.id), compiled_document(planned.plan)


def _report(told: Mapping[str, Any], *, seconds: float) -> None:
    document, times = told["run"], told["timing"]
    _heading("What the agents said")
    run_report(document, short=True)
    _heading("What the workflow was compiled to")
    for line in told["plan"]["canvas"]:
        click.echo(f"  {line}")
    click.echo(f"  {told['plan']['messages']} messages: one a step, and one for the end of the run")
    _heading("How long it took")
    ratio = times["makespan_over_critical_path"]
    above = f", {ratio:.2f} x its critical path" if ratio else ""
    click.echo(f"  the run             {seconds_text(times['makespan_seconds'])}{above}")
    path = " -> ".join(times["critical_path"])
    click.echo(f"  its critical path   {seconds_text(times['critical_path_seconds'])}  ({path})")
    click.echo(f"  one after the other {seconds_text(times['sum_seconds'])}")
    click.echo(f"  with everything started and stopped {seconds_text(seconds)}")
    _heading("What it cost")
    click.echo(f"  {_cost(document, simulated=told['simulated'])}")
    _heading("Where to go on")
    for command, what in _NEXT:
        click.echo(f"  {command:<58} {styled(what, dim=True)}")


def _cost(document: Mapping[str, Any], *, simulated: bool) -> str:
    cost = cost_text(document["estimated_cost"])
    if not simulated:
        return cost
    models = sorted({result["model"] for result in document["results"].values()})
    return f"nothing; the same tokens of {' and '.join(models)} would have cost {cost}"


_NEXT = (
    ('cf-workers execute AGENT "…"', "one agent of your project"),
    ("cf-workers run-workflow NAME --task …", "a workflow of your project"),
    ("cf-workers workflow validate", "everything that is wrong with it"),
    ("cf-workers up", "server, worker, beat and Flower on this machine"),
    ("celery -A cf_workers worker", "workers, on any number of machines"),
    ("celery -A cf_workers flower", "watch them in a browser"),
    ("cf-workers demo --real", "this tour on the real API"),
)


def _heading(text: str) -> None:
    click.echo(f"\n{styled(text, bold=True)}")
