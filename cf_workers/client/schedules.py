"""How does what runs by itself get started, by beat or by hand, and where does it stand?"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from cf_workers.client.handles import RunHandle
from cf_workers.clock import Clock, SystemClock
from cf_workers.errors import InputError, UnknownRunError
from cf_workers.planning import scheduled_options, scheduled_workflow
from cf_workers.schedules import Ledger, ScheduleSpec, Standing, Ticked, Ticker

if TYPE_CHECKING:
    from cf_workers.client.client import Client


@dataclass(frozen=True)
class ScheduleStatus:
    """A schedule as it stands now.

    Args:
        spec: `None` where it cannot be used; `error` says why.
        next: the next tick; `None` for one that is switched off.
        run: the latest run, if its record is still kept.
    """

    name: str
    spec: ScheduleSpec | None
    error: InputError | None
    standing: Standing
    next: datetime | None
    run: str | None
    run_status: str | None

    @property
    def unseen(self) -> bool:
        """Whether no beat knows of it, or of its times as they are now."""
        return self.spec is not None and self.spec.enabled and self.standing.timing != str(self.spec.timing)

    def document(self) -> dict[str, Any]:
        """As `schedule list --json` prints it."""
        spec, standing = self.spec, self.standing
        started = standing.planned
        return {
            "name": self.name,
            "valid": spec is not None,
            "error": self.error.message if self.error else None,
            "enabled": spec.enabled if spec else None,
            "when": str(spec.timing) if spec else None,
            "workflow": spec.workflow if spec else None,
            "batch": spec.batch if spec else None,
            "lane": spec.lane if spec else None,
            "max_cost_usd": spec.max_cost_usd if spec else None,
            "overlap": spec.overlap if spec else None,
            "missed_policy": spec.missed if spec else None,
            "next": self.next.isoformat() if self.next else None,
            "last_run": self.run,
            "last_status": self.run_status,
            "last_planned": datetime.fromtimestamp(started, UTC).isoformat() if started else None,
            "waiting": len(standing.waiting),
            "skipped": standing.skipped,
            "missed": standing.missed,
            "seen_by_beat": not self.unseen if spec and spec.enabled else None,
        }


class Schedules:
    """Starts what the project's schedules say."""

    def __init__(self, client: Client, ledger: Ledger, clock: Clock | None = None) -> None:
        self._client = client
        self._ledger = ledger
        self._clock = clock or SystemClock()
        self._ticker = Ticker(
            ledger, start=self._start, status=self._status, cancel=self._cancel, clock=self._clock
        )

    def usable(self) -> tuple[list[ScheduleSpec], Mapping[str, InputError]]:
        """The schedules that can tick, and why the others cannot; needs no server.

        Raises:
            ConfigError: there is no project, or its file cannot be read.
        """
        project = self._client.project
        specs, errors = [], {}
        for name in project.schedule_names:
            try:
                specs.append(project.schedule(name))
            except InputError as error:
                errors[name] = error
        return specs, errors

    def look(self, specs: list[ScheduleSpec]) -> tuple[list[Ticked], float]:
        """Carry out what is due; what became of it, and seconds until the next look.

        Raises:
            ServerUnreachableError: the server does not answer.
        """
        with self._client.reaching():
            return self._ticker.look(specs)

    def run(self, name: str) -> RunHandle:
        """Start a run of a schedule now, whatever its times and its overlap policy say.

        Raises:
            InputError: there is no such schedule, or it cannot be used.
            ServerUnreachableError: the server does not answer.
        """
        spec = self._client.project.schedule(name)
        run = self._start(spec, f"schedule:{name}:by-hand:{uuid4().hex}")
        with self._client.reaching():
            self._ledger.note_run(name, run)
        return self._client.run(run)

    def statuses(self) -> list[ScheduleStatus]:
        """Where every schedule of the project stands.

        Raises:
            ConfigError: there is no project, or its file cannot be read.
            ServerUnreachableError: the server does not answer.
        """
        specs, errors = self.usable()
        known = {spec.name: spec for spec in specs}
        names = self._client.project.schedule_names
        with self._client.reaching():
            standings = self._ledger.standings(names)
            return [
                self._status_of(name, known.get(name), errors.get(name), standings[name]) for name in names
            ]

    def _status_of(
        self, name: str, spec: ScheduleSpec | None, error: InputError | None, standing: Standing
    ) -> ScheduleStatus:
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        coming = spec.timing.after(now) if spec is not None and spec.enabled else None
        status = self._status(standing.run) if standing.run else None
        return ScheduleStatus(name, spec, error, standing, coming, standing.run if status else None, status)

    def _start(self, spec: ScheduleSpec, key: str) -> str:
        workflow = scheduled_workflow(spec, self._client.project)
        return self._client.start_workflow(
            workflow,
            spec.task,
            inputs=dict(spec.inputs),
            idempotency_key=key,
            timeout_seconds=spec.timeout_seconds,
            options=scheduled_options(spec),
        ).id

    def _status(self, run: str) -> str | None:
        try:
            return self._client.history.status(run)
        except UnknownRunError:
            return None

    def _cancel(self, run: str) -> None:
        with suppress(UnknownRunError):
            self._client.cancel(run)
