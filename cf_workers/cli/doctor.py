"""`cf-workers doctor`: what is wrong here, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from cf_workers.cli.output import counted, notice, print_document, styled
from cf_workers.cli.session import Verb, session
from cf_workers.errors import ConfigError, ProjectError, ServerUnreachableError

if TYPE_CHECKING:
    from cf_workers.application import Context
    from cf_workers.doctor import Finding

_PATIENCE = 5.0
_MARKS = {"ok": ("ok", "green"), "advice": ("ADVICE", "yellow"), "problem": ("PROBLEM", "red")}


@click.command("doctor", cls=Verb)
def doctor() -> None:
    """Look at project, settings, server and workers, and say what to do about what is wrong.

    Ends with 1 when there is a problem; advice alone ends with 0.
    """
    found: list[Finding] = []
    for finding in _examine():
        found.append(finding)
        if not session().json:
            _tell(finding)
    problems = sum(finding.level == "problem" for finding in found)
    if session().json:
        findings = [finding.document() for finding in found]
        print_document({"success": problems == 0, "problems": problems, "findings": findings})
    else:
        click.echo(styled(counted(problems, "problem") if problems else "no problems", bold=True))
    if problems:
        click.get_current_context().exit(1)


def _examine() -> Iterator[Finding]:
    from cf_workers.application import open_context
    from cf_workers.doctor import PROBLEM, Finding

    try:
        context = open_context(config=session().config, need_server=False)
    except ProjectError as error:
        for problem in error.problems:
            says = f"{problem['place']}: {problem['message']}"
            yield Finding("project", PROBLEM, says, f"correct it in {problem['file']}")
        return
    except ConfigError as error:
        for problem in error.details.get("problems", [error.message]):
            yield Finding("settings", PROBLEM, str(problem), error.hint)
        return
    yield from _of_place(context)
    yield from _of_server()


def _of_place(context: Context) -> Iterator[Finding]:
    from cf_workers.doctor import PROBLEM, Finding, place_findings, project_findings

    project = None
    try:
        project = context.project if context.project_path is not None else None
        yield from project_findings(project, context.settings)
    except ConfigError as error:
        yield Finding("project", PROBLEM, error.message, error.hint)
    yield from place_findings(project, context.settings, os.environ, datetime.now(UTC).date())


def _of_server() -> Iterator[Finding]:
    from cf_workers._redis import connect
    from cf_workers.client import Client
    from cf_workers.doctor import OK, PROBLEM, Finding, fleet_findings, read_server, server_findings

    with Client(config=session().config, announce=notice) as client:
        try:
            with client.reaching(), connect(client.context.redis_url, timeout_seconds=_PATIENCE) as server:
                facts = read_server(server)
            workers, queues = client.workers(), client.operations.queues()
        except ServerUnreachableError as error:
            yield Finding("server", PROBLEM, error.message, error.hint)
            return
        yield Finding("server", OK, f"answers in {facts.round_trip_seconds * 1000:.1f} ms")
        yield from server_findings(facts)
        yield from fleet_findings(
            workers,
            queues,
            cap=client.settings.limits.max_concurrent_agents,
            embedded=client.context.embedded is not None,
        )


def _tell(finding: Finding) -> None:
    mark, colour = _MARKS[finding.level]
    click.echo(f"{styled(mark.ljust(8), fg=colour)} {finding.topic}: {finding.says}")
    if finding.do:
        click.echo(f"         {styled('do:', fg='cyan')} {finding.do}")
