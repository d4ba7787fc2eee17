"""`cf-workers dlq`: steps that were given up because every worker that took them on died."""

from __future__ import annotations

import time

import click

from cf_workers.cli.clients import reached_client
from cf_workers.cli.output import columns, notice, print_document, seconds_text
from cf_workers.cli.session import Count, Noun, session
from cf_workers.errors import InputError


@click.group("dlq", cls=Noun)
def dlq() -> None:
    """Dead letters: steps that were given up because every worker that took them on died."""


@dlq.command("list")
@click.option("--limit", type=Count(1, 1000), default=100, show_default=True)
def list_letters(limit: int) -> None:
    """List dead letters, the newest first."""
    with reached_client() as client:
        found = client.dead_letters.newest(limit=limit)
    if session().json:
        print_document({"dead_letters": [letter.document() for letter in found]})
        return
    if not found:
        notice("no dead letters")
        return
    columns(
        ("RUN", "STEP", "AGENT", "DEATHS", "AGE", "LAST WORKER", "ERROR"),
        (
            (
                letter.run,
                letter.step,
                letter.agent,
                str(letter.deaths),
                seconds_text(time.time() - (letter.at or 0)),
                letter.workers[-1] if letter.workers else "-",
                letter.error,
            )
            for letter in found
        ),
    )


@dlq.command("requeue")
@click.argument("run")
@click.argument("step", required=False)
def requeue(run: str, step: str | None) -> None:
    """Run again what did not succeed in the run of a dead letter, named by its id or as RUN STEP.

    What succeeded stays. The steps that were skipped because this one failed run as well.
    """
    id = _id(run, step)
    with reached_client() as client:
        letter = client.dead_letters.get(id)
        client.check_retry(letter.run)
        results = client.history.document(letter.run, outputs=False)["results"]
        again = [name for name, result in results.items() if result["status"] != "succeeded"]
        settled = client.dead_letters.of_run(letter.run, again)
        attempt = client.retry(letter.run)
        client.dead_letters.drop(settled)
    if session().json:
        print_document({"success": True, "run_id": letter.run, "attempt": attempt, "steps": again})
        return
    click.echo(f"run {letter.run} goes on with attempt {attempt}; runs again: {', '.join(again)}")
    notice(f"follow it with `cf-workers runs watch {letter.run}`")


@dlq.command("drop")
@click.argument("run")
@click.argument("step", required=False)
def drop(run: str, step: str | None) -> None:
    """Forget a dead letter, named by its id or as RUN STEP; its run stays as it is."""
    id = _id(run, step)
    with reached_client() as client:
        letter = client.dead_letters.get(id)
        client.dead_letters.drop([letter])
    if session().json:
        print_document({"success": True, "id": letter.id, "run_id": letter.run, "step": letter.step})
    else:
        click.echo(f"dropped {letter.id}")


def _id(run: str, step: str | None) -> str:
    if step is not None:
        return f"{run}:{step}"
    if ":" not in run:
        raise InputError(
            f"{run!r} is not the id of a dead letter",
            {"hint": "give RUN:STEP, or RUN and STEP as two words; see `cf-workers dlq list`"},
        )
    return run
