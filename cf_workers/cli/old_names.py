"""Where have the commands of the older command line gone? They work as they did, and say their new names."""

from __future__ import annotations

from typing import Any

import click

from cf_workers.cli.agents import list_agents, show
from cf_workers.cli.execute import execute
from cf_workers.cli.output import notice
from cf_workers.cli.run_workflow import run_workflow
from cf_workers.cli.session import Noun
from cf_workers.cli.workflow import list_workflows


def _under_its_old_name(command: click.Command, old: str, new: str, *more: click.Parameter) -> click.Command:
    """The same command; `more` stands for options it no longer has as such."""

    def said(*args: Any, **values: Any) -> Any:
        notice(f"`{old}` is now `{new}`.")
        for parameter in more:
            given = values.pop(str(parameter.name))
            if given is not None:
                values["task"] = given
        assert command.callback is not None  # noqa: S101
        return command.callback(*args, **values)

    params = [one for one in command.params if one.name != "task"] if more else list(command.params)
    made = click.Command(old.rpartition(" ")[2], callback=said, params=[*params, *more], help=command.help)
    made.short_help = f"Now `{new}`."
    return made


@click.group("run", cls=Noun)
def run() -> None:
    """Old names of `execute` and `run-workflow`."""


@click.group("list", cls=Noun)
def list_() -> None:
    """Old names of `agents list` and `workflow list`."""


run.add_command(
    _under_its_old_name(
        execute, "run agent", "execute", click.Option(["--task", "old_task"], help="What the agent is to do.")
    )
)
run.add_command(_under_its_old_name(run_workflow, "run workflow", "run-workflow"))
list_.add_command(_under_its_old_name(list_agents, "list agents", "agents list"))
list_.add_command(_under_its_old_name(list_workflows, "list workflows", "workflow list"))
info = _under_its_old_name(show, "info", "agents show")
