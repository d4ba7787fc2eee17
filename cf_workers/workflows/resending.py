"""Was something sent again lately, and how often? Then it is given time before it is sent once more."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from cf_workers.errors import CfWorkersError
from cf_workers.workflows.launcher import Launcher
from cf_workers.workflows.plan import RunHeader
from cf_workers.workflows.record import RunStore

log = logging.getLogger(__name__)


class Resending:
    """Publishes steps again, and remembers what it has published.

    Args:
        resend_seconds: how long a publication is given before it is repeated.
    """

    def __init__(self, store: RunStore, launcher: Launcher, *, resend_seconds: float) -> None:
        self._store = store
        self._launcher = launcher
        self._resend_seconds = resend_seconds
        self._sent: dict[tuple[str, str], tuple[float, int]] = {}

    def send(self, run: str, attempt: int, step: str, now: float) -> bool:
        """Publish a step unless that was done just now; false when its run cannot be read any more."""
        if now - self.last(run, step)[0] < self._resend_seconds:
            return True
        header = self.header(run, attempt)
        if header is None:
            return False
        self._launcher.send(header, step)
        self.note(run, step, now)
        return True

    def send_current(self, run: str, step: str, now: float) -> bool:
        """Publish a step of whatever attempt the run is at; false when there is no such run any more."""
        try:
            attempt = self._store.current_attempt(run)
        except CfWorkersError:
            return False
        return self.send(run, attempt, step, now)

    def send_together(self, tries: Sequence[tuple[str, int, str]], now: float) -> set[tuple[str, str]]:
        """Publish steps in one round trip, however lately each was sent.

        Args:
            tries: run, attempt of the run, and step.

        Returns:
            Runs and steps, without those whose run cannot be read any more.
        """
        found = [(self.header(run, attempt), step) for run, attempt, step in tries]
        wanted = [(header, step) for header, step in found if header is not None]
        self._launcher.send_all(wanted)
        for header, step in wanted:
            self.clear(header.run, step)
            self.note(header.run, step, now)
        return {(header.run, step) for header, step in wanted}

    def header(self, run: str, attempt: int) -> RunHeader | None:
        """The header of a run, if it can be read."""
        try:
            return self._store.header(run, attempt)
        except CfWorkersError as error:
            log.warning("run.unreadable run=%s error=%s", run, error)
            return None

    def last(self, run: str, what: str) -> tuple[float, int]:
        """When something of a run was sent for the last time, and how often it was."""
        return self._sent.get((run, what), (0.0, 0))

    def note(self, run: str, what: str, now: float) -> None:
        """It is sent now."""
        self._sent[run, what] = (now, self.last(run, what)[1] + 1)

    def clear(self, run: str, what: str) -> None:
        """It may be sent at once: what was sent before has nothing to do with it."""
        self._sent.pop((run, what), None)

    def forget(self, before: float) -> None:
        """Forget what was sent before a moment."""
        self._sent = {key: sent for key, sent in self._sent.items() if sent[0] > before}
