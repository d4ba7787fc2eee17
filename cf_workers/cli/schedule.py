"""`cf-workers schedule`: what runs by itself, when next, and how it went last."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from cf_workers.cli.clients import opened_client
from cf_workers.cli.output import columns, notice, print_document, status_text, styled, warn
from cf_workers.cli.session import Noun, session

if TYPE_CHECKING:
    from cf_workers.client.schedules import ScheduleStatus


@click.group("schedule", cls=Noun)
def schedule() -> None:
    """Scheduled runs, as `celery -A cf_workers beat` sees them."""


@schedule.command("list")
def list_schedules() -> None:
    """List the schedules: when each ticks next, its last run and what became of it."""
    with opened_client() as client:
        found = client.schedules.statuses()
    if session().json:
        print_document({"schedules": [one.document() for one in found]})
        return
    if not found:
        notice('no schedules: declare them under "schedules" in claude.json')
        return
    columns(("NAME", "WHEN", "RUNS", "NEXT", "LAST RUN", "STATE"), [_row(one) for one in found])
    for one in found:
        if one.error is not None:
            warn(f"{one.name} does not tick: {one.error.message}")
    unseen = [one.name for one in found if one.unseen]
    if unseen:
        notice(f"no beat has seen {', '.join(unseen)} yet: start one with `celery -A cf_workers beat`")


@schedule.command("run")
@click.argument("name")
@click.option("--detach", is_flag=True, help="Print the id and return at once.")
def run(name: str, detach: bool) -> None:
    """Start a run of a schedule now, and show it; its times stay as they are."""
    from cf_workers.cli.run_workflow import conclude, detached, watched
    from cf_workers.cli.workforce import Workforce, queues_of

    with opened_client() as client:
        lane = client.project.schedule(name).lane
        with Workforce(client, queues_of([lane])) as workforce:
            if not detach:
                workforce.require()
            started = client.schedules.run(name)
            if detach:
                workforce.warn_if_missing()
                return detached(client, started.id)
            document = watched(client, started.id, workforce)
    return conclude(document)


def _row(one: ScheduleStatus) -> tuple[str, ...]:
    spec = one.spec
    if spec is None:
        return (one.name, "-", "-", styled("unusable", fg="red"), one.run or "-", one.run_status or "-")
    coming = _local(one.next) if spec.enabled else "switched off"
    state = status_text(one.run_status) if one.run_status else "-"
    if one.standing.waiting:
        state += f", {len(one.standing.waiting)} waiting"
    return (one.name, str(spec.timing), spec.workflow or spec.batch or "", coming, one.run or "-", state)


def _local(moment: datetime | None) -> str:
    """By the clock of whoever asks; the schedule's own time zone stands beside its times."""
    return "never" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"
