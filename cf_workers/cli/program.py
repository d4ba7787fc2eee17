"""Which commands are there, and with which exit code does each way of ending end?

A command's module is loaded when the command is used: help needs none of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from cf_workers import __version__
from cf_workers.cli.output import InterruptedByUserError, error_document, print_document, show_error
from cf_workers.cli.session import Noun, Session, asks_for_json
from cf_workers.errors import CfWorkersError, ConfigError, InputError

COMMANDS = {
    "execute": ("cf_workers.cli.execute:execute", "Run one agent."),
    "run-workflow": ("cf_workers.cli.run_workflow:run_workflow", "Run a workflow of agents."),
    "batch": ("cf_workers.cli.batch:batch", "Run a file of executions and workflows, one a line."),
    "schedule": ("cf_workers.cli.schedule:schedule", "Scheduled runs, as beat sees them: list, run."),
    "up": ("cf_workers.cli.up:up", "The whole local stack: server, workers, beat, Flower."),
    "runs": ("cf_workers.cli.runs:runs", "Runs: list, show, watch, explain, cancel, retry."),
    "agents": ("cf_workers.cli.agents:agents", "The project's agents: list, show."),
    "workflow": ("cf_workers.cli.workflow:workflow", "Workflows: list, show, validate, plan."),
    "breaker": ("cf_workers.cli.guards:breaker", "Circuit breakers: status, reset."),
    "limits": ("cf_workers.cli.guards:limits", "Rate limits, calls in flight, who waits: status."),
    "config": ("cf_workers.cli.config:config", "Settings and project file: show, validate, migrate, schema."),
    "budget": ("cf_workers.cli.budget:budget", "Budgets: status, set, unset."),
    "health": ("cf_workers.cli.health:health", "Can work be done? For machines."),
    "doctor": ("cf_workers.cli.doctor:doctor", "What is wrong here, and what to do about it? For people."),
    "cache": (
        "cf_workers.cli.cache:cache",
        "The response cache: stats, clear, invalidate, warm, inspect.",
    ),
    "dlq": ("cf_workers.cli.dlq:dlq", "Steps that killed their workers: list, requeue, drop."),
    "simulate-api": (
        "cf_workers.cli.simulate_api:simulate_api",
        "Serve a local stand-in for the Anthropic API.",
    ),
    "completion": ("cf_workers.cli.completion:completion", "Completion for bash, zsh and fish."),
    "demo": ("cf_workers.cli.demo:demo", "A tour on this machine, on the stand-in unless --real."),
}
"""Name, where the command is, and what it does in a line."""

OLD_NAMES = {
    "run": "cf_workers.cli.old_names:run",
    "list": "cf_workers.cli.old_names:list_",
    "info": "cf_workers.cli.old_names:info",
}
"""Commands of the older command line; they work, and are not in the help."""

USAGE, INTERRUPTED = 2, 130


class Program(Noun):
    """The command line as a whole."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a command."""
        home = COMMANDS[cmd_name][0] if cmd_name in COMMANDS else OLD_NAMES.get(cmd_name)
        if home is None:
            return None
        module, _, name = home.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands, without loading them, or the options."""
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **_: Any
    ) -> NoReturn:
        """Run, and end the process with the exit code that says how it went."""
        words = list(sys.argv[1:] if args is None else args)
        try:
            code = self._run(words, prog_name or "cf-workers")
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has had enough of it; Python would complain once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        sys.exit(code)

    def _run(self, words: list[str], prog_name: str) -> int:
        chosen = Session(json=asks_for_json(words))
        try:
            result = super().main(words, prog_name, standalone_mode=False, obj=chosen)
        except click.ClickException as error:
            return _refused(error, chosen)
        except (click.Abort, KeyboardInterrupt):
            return _told(InterruptedByUserError("interrupted"), chosen)
        except CfWorkersError as error:
            return _told(error, chosen)
        return result if isinstance(result, int) else 0


def _refused(error: click.ClickException, chosen: Session) -> int:
    ctx = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not chosen.json:
        click.echo(error.format_message(), err=True)
        return USAGE
    hint = f"see `{ctx.command_path} --help`" if ctx is not None else None
    if isinstance(error, click.UsageError) and ctx is not None and not chosen.json:
        click.echo(ctx.get_usage(), err=True)
    _told(_UsageError(error.format_message(), {"hint": hint} if hint else None), chosen)
    return USAGE


class _UsageError(InputError):
    """The command line itself is wrong."""


_UsageError.__name__ = "UsageError"


def _told(error: CfWorkersError, chosen: Session) -> int:
    if chosen.json:
        print_document(error_document(error))
    else:
        show_error(error)
    return error.exit_code


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Celery's own commands work as they are: celery -A cf_workers worker | beat | flower | inspect",
)
@click.version_option(__version__, prog_name="cf-workers")
@click.pass_context
def program(ctx: click.Context) -> None:
    """Run Claude agents and workflows of agents on Celery workers."""
    named = ctx.ensure_object(Session).config
    if named is not None and not named.strip():
        raise ConfigError("--config is empty", {"hint": "give the path of a claude.json"})
