"""`cf-workers config`: which settings are in force and why, and whether the project file is in order."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cf_workers.cli.output import columns, counted, print_document, styled, warn
from cf_workers.cli.session import Noun, session
from cf_workers.errors import ConfigError, ProjectError

if TYPE_CHECKING:
    from cf_workers.project import Project
    from cf_workers.settings import Settings

_COLOURS = {"environment": "cyan", "project file": "green"}


@click.group("config", cls=Noun)
def config() -> None:
    """The settings in force, and the project file."""


@config.command("show")
@click.option("--changed", is_flag=True, help="Only what is not at its default.")
def show(changed: bool) -> None:
    """Show every setting with the place it comes from; passwords and keys are left out."""
    from cf_workers.application import open_context
    from cf_workers.provenance import DEFAULT, secrets_set, settings_in_force

    context = open_context(config=session().config, need_server=False)
    project = context.project if context.project_path is not None else None
    found = [
        setting
        for setting in settings_in_force(context.settings, project)
        if not changed or setting.source != DEFAULT
    ]
    path = None if context.project_path is None else str(context.project_path)
    if session().json:
        print_document(
            {
                "success": True,
                "project": path,
                "settings": {one.name: _without_name(asdict(one)) for one in found},
                "secrets": secrets_set(),
            }
        )
        return
    click.echo(f"project: {path or 'none'}")
    if not context.settings.redis_url:
        click.echo("server: none is configured; an embedded Valkey of this project is used")
    click.echo()
    columns(
        ("SETTING", "VALUE", "SOURCE", "VARIABLE"),
        (
            (
                one.name,
                _value(one.value),
                styled(one.source, fg=_COLOURS.get(one.source)),
                one.variable or "-",
            )
            for one in found
        ),
    )
    click.echo()
    for name, told in secrets_set().items():
        click.echo(f"{name} {told}")


@config.command("validate")
def validate() -> None:
    """Check the project file and all settings; every problem is listed."""
    project, settings, problems = _read()
    problems += _project_problems(project, settings)
    for name, meant in _unknown_variables():
        warn(f"{name} is not a setting, nothing reads it{f'; did you mean {meant}?' if meant else ''}")
    if problems:
        raise ProjectError(
            f"{project.path} or the settings around it cannot be used, {counted(len(problems), 'problem')}:",
            {"hint": "correct what is listed", "problems": problems},
        )
    if session().json:
        print_document({"success": True, "file": str(project.path), "problems": []})
        return
    agents, workflows = len(project.agent_names), len(project.workflow_names)
    what = f"{counted(agents, 'agent')}, {counted(workflows, 'workflow')} and all settings"
    click.echo(f"{project.path}: {what}: no problems")


@config.command("migrate")
@click.option("--dry-run", is_flag=True, help="Only say what would be changed.")
def migrate(dry_run: bool) -> None:
    """Add the sections that an old project file lacks, with their defaults; all else stays as it is."""
    from cf_workers.project.migration import migrate_file

    path = _project_path()
    changes = migrate_file(path, write=not dry_run)
    if session().json:
        print_document({"success": True, "file": str(path), "changes": changes, "dry_run": dry_run})
        return
    for change in changes:
        click.echo(f"{path}: {'would have ' if dry_run else ''}{change}")
    if not changes:
        click.echo(f"{path}: nothing to migrate")


@config.command("schema")
def schema() -> None:
    """Print the JSON Schema of claude.json.

    Put it beside the file and name it there, and editors complete and check it: "$schema":
    "./claude.schema.json".
    """
    from cf_workers.project.schema import project_schema_text

    click.echo(project_schema_text(), nl=False)


def _read() -> tuple[Project, Settings | None, list[Any]]:
    """The project, the settings where they can be used, and what is wrong with them."""
    from cf_workers.project import load_project
    from cf_workers.settings import load_settings

    project = load_project(_project_path())
    try:
        return project, load_settings(project), []
    except ProjectError:  # sections of the file, which are listed with the rest of it
        return project, None, _problems_of_variables()
    except ConfigError as error:
        return project, None, list(error.details.get("problems", [error.message]))


def _problems_of_variables() -> list[Any]:
    from cf_workers.settings import load_settings

    try:
        load_settings()
    except ConfigError as error:
        return list(error.details.get("problems", [error.message]))
    return []


def _project_problems(project: Project, settings: Settings | None) -> list[Any]:
    from cf_workers.planning import check_project

    if settings is None:
        return [problem.as_dict() for problem in project.problems]
    try:
        check_project(project, settings)
    except ProjectError as error:
        return list(error.problems)
    return []


def _unknown_variables() -> list[tuple[str, str | None]]:
    from cf_workers.provenance import unknown_variables

    return unknown_variables()


def _project_path() -> Path:
    from cf_workers.project import find_project

    named = session().config or os.environ.get("CF_WORKERS_CONFIG") or None
    return find_project(named, Path.cwd(), Path.home())


def _without_name(setting: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in setting.items() if key != "name"}


def _value(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
