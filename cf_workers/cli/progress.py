"""How is progress shown: as a living picture on a terminal, as one line an event elsewhere?"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import click

from cf_workers.cli.output import InterruptedByUserError, notice
from cf_workers.cli.view import RunView, StepView, told

if TYPE_CHECKING:
    from cf_workers.cli.workforce import Workforce
    from cf_workers.client import Client
    from cf_workers.workflows.history import RunEvent

IDLE_SECONDS = 1.0

_asked_to_stop = threading.Event()


class Display(Protocol):
    """Something that shows a run."""

    def tell(self, event: RunEvent) -> None:
        """An event has been applied to the view."""
        ...


class Lines:
    """One line an event, on standard error."""

    def __init__(self, view: RunView) -> None:
        self._view = view

    def tell(self, event: RunEvent) -> None:
        """Print what happened."""
        line = told(event, self._view)
        if line is not None:
            click.echo(line, err=True)


def follow(client: Client, run: str, workforce: Workforce | None = None) -> RunView:
    """Show a run until it has ended.

    Raises:
        UnknownRunError: there is no such run.
        ServerUnreachableError: the server does not answer any more.
    """
    with client.reaching():
        plan = client.history.plan(run)
        steps = [StepView(step.id, step.agent, step.dependencies) for step in plan.steps]
        view = RunView(plan.workflow, steps)
        with _display(view) as display:
            for event in client.history.follow(run, wait_seconds=IDLE_SECONDS):
                if _asked_to_stop.is_set():
                    raise KeyboardInterrupt
                if event is not None:
                    view.apply(event)
                    display.tell(event)
                elif workforce is not None:
                    workforce.look_after()
    return view


@contextmanager
def interruptible(run: str, workforce: Workforce | None = None, *, what: str = "run") -> Iterator[None]:
    """Within this block an interruption says what becomes of the run.

    Raises:
        InterruptedByUserError: Ctrl-C was pressed.
    """
    try:
        with _interrupted_between_events():
            yield
    except KeyboardInterrupt:
        state, follow_up = _what_becomes_of(run, workforce)
        raise InterruptedByUserError(
            f"interrupted; {what} {run} {state}", {"hint": follow_up, "run_id": run}
        ) from None


def _what_becomes_of(run: str, workforce: Workforce | None) -> tuple[str, str]:
    """The state in which an interruption leaves a run, and what can be done next."""
    stop = f"stop it with `cf-workers runs cancel {run}`"
    if workforce is None or not workforce.is_own:
        return "goes on", f"follow it with `cf-workers runs watch {run}`, {stop}"
    notice("Stopping the local worker; Ctrl-C again stops it at once.")
    workforce.close()
    if ended := workforce.ended_as(run):
        return f"has ended meanwhile: {ended}", f"see it with `cf-workers runs show {run}`"
    state = "is kept and waits for a worker, since the one of this command has ended"
    return state, f"go on with it with `cf-workers runs watch {run}`, {stop}"


@contextmanager
def _interrupted_between_events() -> Iterator[None]:
    """The first Ctrl-C waits for the end of a look at the run, a second at most; the second one does not.

    An exception in the middle of a command to the server may leave a lock taken that closing waits for.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored or threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        if _asked_to_stop.is_set():
            signal.default_int_handler(number, frame)
        _asked_to_stop.set()

    _asked_to_stop.clear()
    previous = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        _asked_to_stop.clear()


@contextmanager
def _display(view: RunView) -> Iterator[Display]:
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Lines(view)
        return
    from cf_workers.cli.picture import living_picture

    with living_picture(view) as display:
        yield display
