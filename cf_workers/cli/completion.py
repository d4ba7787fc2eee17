"""`cf-workers completion`: how a shell completes commands, options and the names in the project."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from cf_workers.cli.output import print_document
from cf_workers.cli.session import Session, Verb, session
from cf_workers.errors import CfWorkersError

PROGRAMS = ("cf-workers", "cfw")
VARIABLE = "_CF_WORKERS_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command("completion", cls=Verb)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete the words of cf-workers and cfw.

    In ~/.bashrc or ~/.zshrc: eval "$(cf-workers completion bash)", or zsh instead of bash. In
    ~/.config/fish/config.fish: cf-workers completion fish | source
    """
    from cf_workers.cli.program import program

    made = get_completion_class(shell)
    assert made is not None  # noqa: S101
    script = "".join(made(program, {}, name, VARIABLE).source() for name in PROGRAMS)
    if session().json:
        print_document({"success": True, "shell": shell, "script": script})
    else:
        click.echo(script)


def agent_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The agents of the project that begin like this."""
    return _items(_names(ctx, "agent_names"), incomplete)


def workflow_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The workflows of the project that begin like this, else files."""
    return _items(_names(ctx, "workflow_names"), incomplete) or [CompletionItem(incomplete, type="file")]


def _items(names: tuple[str, ...], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _names(ctx: click.Context, what: str) -> tuple[str, ...]:
    """A project that cannot be read has nothing to complete; what is wrong is told when a command is run."""
    from cf_workers.project import find_project, load_project

    named = ctx.ensure_object(Session).config or os.environ.get("CF_WORKERS_CONFIG") or None
    try:
        names: tuple[str, ...] = getattr(load_project(find_project(named, Path.cwd(), Path.home())), what)
    except CfWorkersError:
        return ()
    return names
