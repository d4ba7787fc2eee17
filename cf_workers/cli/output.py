"""How is something told to a person, and how to a program?"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from cf_workers.errors import CfWorkersError

_STATUS_COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "skipped": "yellow"}


class InterruptedByUserError(CfWorkersError):
    """The person at the keyboard has had enough; what was enqueued is said to go on."""

    exit_code = 130


def print_document(document: Mapping[str, Any]) -> None:
    """Print the one document of a `--json` command."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def notice(text: str) -> None:
    """Tell a person something beside the result."""
    click.secho(text, err=True, dim=True, color=_colour())


def warn(text: str) -> None:
    click.secho(f"warning: {text}", err=True, fg="yellow", color=_colour())


def styled(text: str, **style: Any) -> str:
    """Coloured on a terminal; `click.echo` takes the colours out elsewhere."""
    return text if _colour() is False else click.style(text, **style)


def status_text(status: str) -> str:
    return styled(status, fg=_STATUS_COLOURS.get(status, "cyan"))


def error_document(error: CfWorkersError) -> dict[str, Any]:
    """What a program gets when a command could not do what it was asked to."""
    described: dict[str, Any] = {
        "type": type(error).__name__.replace("InterruptedByUserError", "Interrupted"),
        "message": error.message,
        "hint": error.hint,
    }
    for name in ("problems", "run_id", "execution_id"):
        if name in error.details:
            described[name] = error.details[name]
    return {"success": False, "error": described}


def show_error(error: CfWorkersError) -> None:
    """Tell a person what went wrong, everything that is wrong, and what to do."""
    problems = error.details.get("problems") or []
    if error.message == "; ".join(map(problem_text, problems)):  # listed below, or said already
        message = error.message if len(problems) == 1 else f"{len(problems)} problems:"
        problems = problems if len(problems) > 1 else []
    else:
        message = error.message.splitlines()[0] if problems else error.message
    click.echo(f"{styled('error:', fg='red', bold=True)} {message}", err=True)
    for problem in problems:
        click.echo(f"  {problem_text(problem)}", err=True)
    if error.hint:
        click.echo(f"{styled('hint:', fg='cyan')} {error.hint}", err=True)


def problem_text(problem: Any) -> str:
    """One problem on one line: file, line, place, what, what to do."""
    if not isinstance(problem, Mapping):
        return str(problem)
    place = problem.get("place")
    line = problem.get("line")
    where = ":".join(str(part) for part in (problem.get("file"), line) if part)
    text = ": ".join(part for part in (where, place, problem["message"]) if part)
    return f"{text} ({problem['hint']})" if problem.get("hint") else text


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(click.unstyle(row[n])) for row in table) for n in range(len(header))]
    for number, row in enumerate(table):
        cells = [
            cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True)
        ]
        line = "  ".join(cells).rstrip()
        click.echo(styled(line, bold=True) if number == 0 else line)


def seconds_text(seconds: float | None) -> str:
    """A duration as a person says it."""
    if seconds is None:
        return "-"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def cost_text(cost: float | None) -> str:
    """An amount of US dollars; unknown is not zero."""
    if cost is None:
        return "cost unknown"
    return "$0" if cost == 0 else f"${cost:.4f}" if cost < 1 else f"${cost:.2f}"


def tokens_text(tokens: int) -> str:
    return f"{tokens:,} tokens"


def counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _colour() -> bool | None:
    """Whether to colour: never when NO_COLOR says so, else as the stream allows."""
    return False if os.environ.get("NO_COLOR") else None
