"""What does a person at a terminal see while a run goes on?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cf_workers.cli.output import cost_text, seconds_text, tokens_text
from cf_workers.cli.view import ENDED, RunView, StepView

if TYPE_CHECKING:
    from cf_workers.workflows.history import RunEvent

REFRESH_PER_SECOND = 8
LINES_BESIDE_STEPS = 5
FEWEST_STEPS = 4
_MARKS = {
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "skipped": ("-", "yellow"),
    "cancelled": ("-", "yellow"),
    "retrying": ("↻", "yellow"),
    "parked": ("‖", "yellow"),
    "waiting": ("·", "dim"),
}
_COLUMNS = ("", "step", "agent", "state", "time", "tries", "tokens", "cost")
_RIGHT = frozenset({"time", "tries", "tokens", "cost"})
_URGENCY = {"running": 0, "retrying": 1, "parked": 1, "failed": 2, "waiting": 3}


class Picture:
    """A table of the steps that fit on the screen, drawn anew several times a second."""

    def __init__(self, view: RunView, console: Console) -> None:
        self._view = view
        self._console = console
        self._spinner = Spinner("dots", style="cyan")

    def tell(self, event: RunEvent) -> None:
        """Nothing to do: the next drawing shows it."""

    def __rich__(self) -> RenderableType:
        now = time.time()
        table = Table(box=None, padding=(0, 1), show_edge=False, header_style="dim")
        columns = self._columns()
        for column in columns:
            justify: JustifyMethod = "right" if column in _RIGHT else "left"
            table.add_column(column, justify=justify, no_wrap=True, overflow="ellipsis")
        shown, hidden = self._visible()
        for step in shown:
            cells = self._row(step, now)
            table.add_row(*(cells[column] for column in columns))
        below = [Text(f"   … and {hidden} more steps", style="dim")] if hidden else []
        return Group(table, *below, self._summary(now))

    def _visible(self) -> tuple[list[StepView], int]:
        """As many steps as there are lines, those that matter now first, shown in declared order."""
        steps = list(self._view.steps.values())
        room = max(FEWEST_STEPS, self._console.height - LINES_BESIDE_STEPS)
        if len(steps) <= room:
            return steps, 0
        urgent = sorted(steps, key=lambda step: (_URGENCY.get(step.status, 4), -(step.finished or 0)))[:room]
        chosen = {step.id for step in urgent}
        return [step for step in steps if step.id in chosen], len(steps) - room

    def _columns(self) -> list[str]:
        """The columns that say something about this run."""
        steps = self._view.steps.values()
        silent = {
            "agent": all(step.agent == step.id for step in steps),
            "tries": all(step.attempts < 2 for step in steps),  # noqa: PLR2004
        }
        return [column for column in _COLUMNS if not silent.get(column, False)]

    def _row(self, step: StepView, now: float) -> dict[str, RenderableType]:
        mark, style = _MARKS.get(step.status, ("", "cyan"))
        running = step.status == "running"
        done = step.status in ENDED and step.attempts > 0
        state = f"{step.status}, from the cache" if step.from_cache else step.note or step.status
        return {
            "": self._spinner if running else Text(mark, style=style),
            "step": Text(step.id, style="bold" if running else ""),
            "agent": Text(step.agent if step.agent != step.id else "", style="dim"),
            "state": Text(state, style=style),
            "time": seconds_text(step.seconds(now)) if step.started else "",
            "tries": str(step.attempts) if step.attempts > 1 else "",
            "tokens": f"{step.tokens:,}" if done else "",
            "cost": cost_text(step.cost) if done else "",
        }

    def _summary(self, now: float) -> Text:
        view = self._view
        total = len(view.steps)
        took = seconds_text(None if view.began is None else (view.ended or now) - view.began)
        style = _MARKS.get(view.status, ("", "cyan"))[1]
        spent = f"{took}, {tokens_text(view.tokens)}, {cost_text(view.cost)}"
        progress = f"  {total - view.left}/{total} steps, {spent}"
        return Text.assemble("   ", (view.name, "bold"), " ", (view.status, style), (progress, "dim"))


@contextmanager
def living_picture(view: RunView) -> Iterator[Picture]:
    """Draw the run on standard error while the block runs; its last state stays on the screen."""
    console = Console(stderr=True)
    picture = Picture(view, console)
    with Live(picture, console=console, refresh_per_second=REFRESH_PER_SECOND, redirect_stdout=False):
        yield picture
    console.print()
