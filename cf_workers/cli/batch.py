"""`cf-workers batch`: a file of executions and workflows, one a line."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from cf_workers.cli.output import (
    InterruptedByUserError,
    cost_text,
    counted,
    notice,
    print_document,
    seconds_text,
)
from cf_workers.cli.session import LANES, Count, Verb, session
from cf_workers.errors import CfWorkersError, InputError

if TYPE_CHECKING:
    from cf_workers.client.batch import Batch, Tally
    from cf_workers.workflows.spec import Lane

IN_FLIGHT = {"interactive": 200, "auto": 200, "background": 2_000, "batch": 20_000}
LINE_EVERY_SECONDS = 10.0


@click.command("batch", cls=Verb)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Where the results go, one a line."
)
@click.option("--ordered", is_flag=True, help="Write results in the order of FILE.")
@click.option("--lane", type=click.Choice(LANES), default="interactive", show_default=True)
@click.option(
    "--in-flight",
    type=Count(1, 100_000),
    help=f"Lines under way at once  [{IN_FLIGHT['interactive']}; {IN_FLIGHT['batch']} in the batch lane].",
)
def batch(file: Path, out: Path, **chosen: Any) -> None:
    """Run every line of FILE, and write one line of JSON for each.

    A line is {"agent": …, "task": …} or {"workflow": …, "task": …, "inputs": {…}}; an "id" comes back. All
    lines are checked before the first one is sent. A batch that was interrupted goes on where it stopped when
    the same command is given again; what was paid is not paid twice.
    """
    from cf_workers.cli.workforce import Workforce, queues_of
    from cf_workers.client import Client
    from cf_workers.client.batch import Batch, BatchPolicy
    from cf_workers.client.batch_input import read_batch
    from cf_workers.client.batch_output import BatchOutput

    lane = cast("Lane", chosen["lane"])
    policy = BatchPolicy(in_flight=chosen["in_flight"] or IN_FLIGHT[lane])
    if file.resolve() == out.resolve():
        raise InputError(f"{out} is the batch file itself", {"hint": "give another name with --out"})
    with (
        Client(config=session().config, announce=notice) as client,
        read_batch(client, file, lane) as source,
        BatchOutput(out, source.digest, ordered=chosen["ordered"]) as output,
    ):
        work = Batch(client, source, output, ordered=chosen["ordered"], policy=policy)
        if work.tally.before:
            notice(f"{work.tally.before} of {work.tally.lines} lines are done already")
        if work.tally.done < work.tally.lines:
            with Workforce(client, queues_of([lane])) as workforce, _resumable(work, out):
                workforce.require()
                _watched(work, workforce.look_after)
    _conclude(work.tally, out)


def _watched(work: Batch, look_after: Callable[[], object]) -> None:
    looked_at = time.monotonic()

    def idle() -> None:
        nonlocal looked_at
        if time.monotonic() - looked_at > 1.0:
            looked_at = time.monotonic()
            look_after()

    with _progress() as told:
        work.run(told, idle)


@contextmanager
def _resumable(work: Batch, out: Path) -> Iterator[None]:
    """Whatever ends the command before its time, it says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        tally = work.tally
        raise InterruptedByUserError(
            f"interrupted; {tally.done} of {tally.lines} lines are in {out}, what is under way is kept",
            {"hint": _how_to_resume()},
        ) from None
    except CfWorkersError as error:
        hints = [hint for hint in (error.hint, _how_to_resume()) if hint]
        raise type(error)(error.message, {**error.details, "hint": "; ".join(hints)}) from None


def _how_to_resume() -> str:
    return f"go on with the same command: cf-workers {shlex.join(sys.argv[1:])}"


@contextmanager
def _progress() -> Iterator[Callable[[Tally], object]]:
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bar() as bar:
            yield bar
        return
    said_at = time.monotonic()

    def told(tally: Tally) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= LINE_EVERY_SECONDS or tally.done == tally.lines:
            said_at = time.monotonic()
            notice(progress_text(tally))

    yield told


@contextmanager
def _bar() -> Iterator[Callable[[Tally], object]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as progress:
        shown = progress.add_task("")
        yield lambda tally: progress.update(
            shown, total=tally.lines, completed=tally.done, description=progress_text(tally)
        )


def progress_text(tally: Tally) -> str:
    """How far a batch is, what it has cost, and how long it will take."""
    left = tally.seconds_left
    parts = [
        f"{tally.done}/{tally.lines} lines",
        f"{tally.failed} failed" if tally.failed else "",
        _cost(tally),
        f"about {seconds_text(left)} left" if left and tally.done < tally.lines else "",
    ]
    return ", ".join(part for part in parts if part)


def _cost(tally: Tally) -> str:
    known = cost_text(tally.known_cost)
    return f"{known} and {counted(tally.unpriced, 'line')} of unknown cost" if tally.unpriced else known


def _conclude(tally: Tally, out: Path) -> None:
    if session().json:
        print_document(
            {
                "success": tally.failed == 0,
                "lines": tally.lines,
                "succeeded": tally.done - tally.failed,
                "failed": tally.failed,
                "done_before": tally.before,
                "estimated_cost": tally.cost,
                "unpriced": tally.unpriced,
                "seconds": round(tally.seconds, 3),
                "out": str(out),
            }
        )
    else:
        counts = f"{tally.done - tally.failed} succeeded, {tally.failed} failed"
        click.echo(f"{counted(tally.lines, 'line')}: {counts}, {_cost(tally)}, in {out}")
    if tally.failed:
        click.get_current_context().exit(1)
