"""`cf-workers agents`: what agents a project has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cf_workers.cli.completion import agent_names
from cf_workers.cli.output import columns, notice, print_document, problem_text, styled, warn
from cf_workers.cli.session import Noun, session

if TYPE_CHECKING:
    from cf_workers.application import Context
    from cf_workers.project import AgentEntry, Problem


@click.group("agents", cls=Noun)
def agents() -> None:
    """The agents of the project."""


@agents.command("list")
def list_agents() -> None:
    """List the agents by priority."""
    project = _context().project
    entries = [project.entry(name) for name in project.agent_names]
    problems = {name: project.agent_problems(name) for name in project.agent_names}
    if session().json:
        print_document({"agents": [_entry(entry, problems[entry.name]) for entry in entries]})
        return
    if not entries:
        notice(f"no agents in {project.path}")
        return
    columns(
        ("AGENT", "PRIORITY", "DOMAINS", "MODEL", "USABLE"),
        (
            (e.name, str(e.priority), ", ".join(e.domains) or "-", e.model or "-", _usable(problems[e.name]))
            for e in entries
        ),
    )
    for found in problems.values():
        for problem in found:
            warn(problem_text(problem.as_dict()))


@agents.command("show")
@click.argument("name", shell_complete=agent_names)
def show(name: str) -> None:
    """Show what would be sent to the model for agent NAME, and its settings."""
    context = _context()
    definition, defaults = context.project.agent(name), context.settings.agents
    settings = {
        "model": definition.model or defaults.model,
        "max_tokens": definition.max_tokens or defaults.max_tokens,
        "timeout_seconds": definition.timeout_seconds or defaults.timeout_seconds,
        "max_retries": defaults.max_retries if definition.max_retries is None else definition.max_retries,
        "effort": definition.effort,
        "cacheable": definition.cacheable,
    }
    if session().json:
        print_document({**definition.model_dump(mode="json"), **settings})
        return
    click.echo(f"{styled(definition.name, bold=True)}  {', '.join(definition.domains)}")
    click.echo(", ".join(f"{key} {value}" for key, value in settings.items() if value is not None))
    click.echo(f"\n{definition.text.rstrip()}")
    if definition.contract:
        click.echo(f"\n{styled('-- contract --', dim=True)}\n\n{definition.contract.rstrip()}")


def _usable(problems: Sequence[Problem]) -> str:
    return styled("no", fg="red") if problems else "yes"


def _entry(entry: AgentEntry, problems: Sequence[Problem]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "file": entry.file,
        "contract": entry.contract,
        "domains": list(entry.domains),
        "priority": entry.priority,
        "model": entry.model,
        "imported": entry.imported,
        "usable": not problems,
        "problems": [problem.as_dict() for problem in problems],
    }


def _context() -> Context:
    from cf_workers.application import open_context

    return open_context(config=session().config, need_server=False)
