"""`cf-workers execute`: one agent."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cf_workers.cli.completion import agent_names
from cf_workers.cli.output import (
    cost_text,
    counted,
    notice,
    print_document,
    seconds_text,
    styled,
    tokens_text,
)
from cf_workers.cli.session import Amount, Count, Verb, session
from cf_workers.errors import ConfigError, InputError
from cf_workers.money import usd

if TYPE_CHECKING:
    from cf_workers.answers import KnownAnswers
    from cf_workers.client import Client
    from cf_workers.planning import ExecutionOptions, Planned

STDIN = "-"
RUN = "run"
_NO_TASK = "no task: give it as an argument, with --task-file or on standard input"


@click.command("execute", cls=Verb)
@click.argument("agent", shell_complete=agent_names)
@click.argument("task", required=False)
@click.option("--async/--sync", "enqueue", default=None, help="On a worker (default), or in this process.")
@click.option("--detach", is_flag=True, help="Print the id and return at once.")
@click.option("--model", help="Instead of the agent's own; auto: as the project's rules choose.")
@click.option("--complexity", metavar="TIER", help="simple, standard or complex: chooses the model.")
@click.option("--max-tokens", type=Count(min=1), help="Bound of the answer.")
@click.option("--timeout", type=Amount(min=0, min_open=True), metavar="SECONDS", help="Of an attempt.")
@click.option("--task-file", type=click.Path(path_type=Path), help="Read the task from a file.")
@click.option("--temperature", type=float, help="Accepted for old scripts; never sent.")
@click.option("--no-cache", is_flag=True, help="Ask again even if the answer is known.")
@click.option("--fail-fast", is_flag=True, help="Fail rather than wait for breaker or limits.")
@click.option("--max-cost", type=Amount(min=0), metavar="DOLLARS", help="Its budget.")
@click.option(
    "--no-memory", is_flag=True, help="Accepted for old scripts: agents never remember earlier executions."
)
def execute(agent: str, task: str | None, task_file: Path | None, **chosen: Any) -> None:
    """Run AGENT on TASK and print its answer.

    TASK comes from standard input when it is not given, or is "-".
    """
    ctx = click.get_current_context()
    if chosen["detach"] and chosen["enqueue"] is False:
        raise click.UsageError("--sync runs here and now: it cannot be detached", ctx)
    text = read_task(ctx, task, task_file)
    if chosen["temperature"] is not None:
        notice("--temperature is accepted but not sent: current models do not take it.")
    from cf_workers.client import Client
    from cf_workers.planning import ExecutionOptions

    options = ExecutionOptions(
        model=chosen["model"],
        complexity=chosen["complexity"],
        max_tokens=chosen["max_tokens"],
        timeout_seconds=chosen["timeout"],
        cacheable=False if chosen["no_cache"] else None,
        fail_fast=chosen["fail_fast"],
        max_cost_usd=chosen["max_cost"],
    )
    with Client(config=session().config, announce=notice) as client:
        planned = client.check_execution(agent, text, options)
        _tell_choice(planned, text)
        if _runs_here(client, chosen["enqueue"], chosen["detach"]):
            document = _execute_here(client, planned, text)
        elif chosen["detach"]:
            document = _detach(client, agent, text, options)
        else:
            document = _enqueue_and_wait(client, agent, text, options)
    if chosen["detach"]:
        return
    show_execution(document)
    if not document["success"]:
        ctx.exit(1)


def _tell_choice(planned: Planned, task: str) -> None:
    """Say which model the rules have chosen, and what a call of it costs."""
    (step,) = planned.plan.steps
    if step.chosen is None:
        return
    from cf_workers.agents.definition import AgentDefinition
    from cf_workers.agents.estimate import likely_nanos, most_nanos
    from cf_workers.answers import call_for

    definition = AgentDefinition.model_validate_json(planned.definitions[step.definition])
    call = call_for(definition, step, task=task)
    likely, most = (cost_text(usd(nanos)) for nanos in (likely_nanos(call), most_nanos(call)))
    notice(f"model {step.model} ({step.chosen}): about {likely}, at most {most} a call")


def read_task(ctx: click.Context, task: str | None, task_file: Path | None) -> str:
    """The task from the argument, the file, or standard input.

    Raises:
        UsageError: it is given twice, or not at all.
        InputError: it cannot be read.
    """
    if task is not None and task_file is not None:
        raise click.UsageError("give the task as an argument or with --task-file, not both", ctx)
    if task_file is not None:
        try:
            return _text(task_file.read_bytes(), str(task_file))
        except OSError as error:
            raise InputError(f"cannot read the task file {task_file}: {error.strerror}") from None
    if task is not None and task != STDIN:
        return task
    if task is None and sys.stdin.isatty():
        raise click.UsageError(_NO_TASK, ctx)
    text = _text(sys.stdin.buffer.read(), "standard input")
    if task is None and not text.strip():
        raise click.UsageError(f"{_NO_TASK}; nothing came on standard input", ctx)
    return text


def show_execution(document: Mapping[str, Any]) -> None:
    """Print what came of an execution: the answer on standard output, what it took on standard error."""
    if session().json:
        print_document(document)
        return
    metadata = document["metadata"]
    if document["output"]:
        click.echo(document["output"])
    error = metadata["error"]
    if error:
        click.echo(f"{styled('error:', fg='red', bold=True)} {error['message']}", err=True)
        if error.get("hint"):
            click.echo(f"{styled('hint:', fg='cyan')} {error['hint']}", err=True)
    notice(_footer(document))


def _footer(document: Mapping[str, Any]) -> str:
    metadata = document["metadata"]
    milliseconds = metadata["execution_time_ms"]
    parts = [
        f"{document['agent_name']} {document['status']}",
        metadata["model"],
        seconds_text(milliseconds / 1000) if milliseconds is not None else None,
        tokens_text(metadata["tokens_used"]),
        cost_text(metadata["estimated_cost"]),
        counted(metadata["attempts"], "attempt") if metadata["attempts"] > 1 else None,
        ("from the cache, out of date" if metadata["stale"] else "from the cache")
        if metadata["cached"]
        else None,
        "cut off at its token limit" if metadata["truncated"] else None,
    ]
    return f"[{', '.join(part for part in parts if part)}] {metadata['execution_id']}"


def _runs_here(client: Client, enqueue: bool | None, detach: bool) -> bool:
    """`--sync`, or a project whose executions run in the caller's process."""
    if enqueue is not None or detach:
        return enqueue is False
    return not client.project.performance.async_enabled


def _execute_here(client: Client, planned: Planned, task: str) -> Mapping[str, Any]:
    from cf_workers.agents.provider import AnthropicProvider, ProviderPolicy
    from cf_workers.resilience.backoff import BackoffPolicy
    from cf_workers.tasks.budgeted import Capped
    from cf_workers.tasks.inline import InlinePolicy, execute_inline

    settings = client.settings
    backoff = BackoffPolicy(
        settings.retry.backoff_seconds, settings.retry.backoff_max_seconds, settings.retry.jitter
    )
    _only_its_own_budget(planned)
    model = AnthropicProvider(ProviderPolicy(threads=1))
    try:
        return execute_inline(
            planned,
            task,
            model=Capped(model, planned.limits[0]) if planned.limits else model,
            retrying=lambda attempt, wait, error: notice(
                f"attempt {attempt} failed: {error}; again in {wait:.1f} s"
            ),
            known=_known_answers(client, planned),
            policy=InlinePolicy(settings.agents.max_retries, backoff),
        )
    finally:
        model.close()


def _known_answers(client: Client, planned: Planned) -> KnownAnswers | None:
    """What the cache knows, if this execution may use it and there is a server; none is started for it."""
    from cf_workers.answers import is_cacheable, known_answers
    from cf_workers.application import with_running_server

    if not is_cacheable(client.local, planned.plan.steps[0]):
        return None
    return known_answers(with_running_server(client.local))


def _only_its_own_budget(planned: Planned) -> None:
    """Budgets that others spend as well are kept on the server, which this way of executing goes without.

    Raises:
        ConfigError: there is such a budget.
    """
    shared = [limit.scope for limit in planned.limits if limit.scope != RUN]
    if shared:
        raise ConfigError(
            f"the budget {shared[0]} cannot hold for an execution in this process",
            {"hint": "leave --sync out: workers share their budgets through the server"},
        )


def _detach(client: Client, agent: str, task: str, options: ExecutionOptions) -> dict[str, Any]:
    from cf_workers.cli.workforce import Workforce

    handle = client.submit(agent, task, **options.model_dump(exclude_defaults=True))
    Workforce(client).warn_if_missing()
    document = {"success": True, "execution_id": handle.id, "agent_name": agent, "status": handle.status()}
    if session().json:
        print_document(document)
    else:
        click.echo(handle.id)
        notice(f"follow it with `cf-workers runs watch {handle.id}`")
    return document


def _enqueue_and_wait(client: Client, agent: str, task: str, options: ExecutionOptions) -> Mapping[str, Any]:
    from cf_workers.cli.progress import follow, interruptible
    from cf_workers.cli.workforce import Workforce

    chosen = options.model_dump(exclude_defaults=True)
    if known := client.recall(agent, task, **chosen):
        follow(client, known.id)
        return client.history.execution(known.id)
    with Workforce(client) as workforce:
        workforce.require()
        handle = client.submit(agent, task, **chosen)
        with interruptible(handle.id, workforce, what="execution"):
            follow(client, handle.id, workforce)
            return client.history.execution(handle.id)


def _text(raw: bytes, source: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{source} is not UTF-8", {"hint": "convert it, for example with iconv"}) from None
