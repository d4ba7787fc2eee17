"""Who starts what the schedules say? `celery -A cf_workers beat`, as many of them as one likes.

Beat is a producer: a tick plans and records a run, as `run-workflow --detach` does, so workers need no
project. What has ticked is kept in Redis, nothing in the working directory; two beats start one run a tick.
Periodic tasks of other origin (`beat_schedule`) run as ever, but their times are not kept over a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import redis
from celery import beat

from cf_workers.client import Client
from cf_workers.errors import CfWorkersError, ConfigError, InputError
from cf_workers.schedules import Ticked

log = logging.getLogger("cf_workers.beat")

LOOK_AGAIN_SECONDS = 5.0


class Clockwork:
    """Looks at the schedules of the project and tells of what it did; nothing that fails stops it.

    Args:
        open_client: opens the client when first needed: beat may still fork before.
    """

    def __init__(self, open_client: Callable[[], Client] = Client) -> None:
        self._open_client = open_client
        self._told: dict[str, str] = {}

    def advance(self) -> float:
        """Carry out what is due; seconds until the next look."""
        try:
            specs, unusable = self._client.schedules.usable()
            self._tell_unusable(unusable)
            ticked, pause = self._client.schedules.look(specs)
        except ConfigError as error:
            self._tell_once("project", f"schedules.none reason={error.message}")
            return LOOK_AGAIN_SECONDS
        except (CfWorkersError, redis.RedisError) as error:
            self._tell_once("server", f"schedules.unreachable error={type(error).__name__}: {error}")
            return LOOK_AGAIN_SECONDS
        self._forget("project", "server")
        for one in ticked:
            self._tell(one)
        return max(0.0, pause)

    def close(self) -> None:
        """Let go of the connections."""
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> Client:
        return self._open_client()

    def _tell_unusable(self, unusable: Mapping[str, InputError]) -> None:
        for name, error in unusable.items():
            self._tell_once(f"unusable {name}", f"schedule.unusable schedule={name} {error.message}")
        self._forget(*(key for key in self._told if key.startswith("unusable ") and key[9:] not in unusable))

    def _tell(self, one: Ticked) -> None:
        failed = f"failed {one.schedule}"
        if one.error is not None:
            self._tell_once(failed, f"schedule.failed schedule={one.schedule} error={one.error.message}")
            return
        self._forget(failed)
        log.info(
            "schedule.ticked schedule=%s planned=%s outcome=%s run=%s",
            one.schedule,
            f"{one.planned:%Y-%m-%dT%H:%M:%SZ}",
            one.outcome,
            one.run or "-",
        )

    def _tell_once(self, what: str, text: str) -> None:
        """The same again is no news until something else was."""
        if self._told.get(what) != text:
            self._told[what] = text
            log.warning("%s", text)

    def _forget(self, *what: str) -> None:
        for key in what:
            self._told.pop(key, None)


class KeepsSchedules:
    """What a scheduler of beat becomes ours by: it also looks at the schedules of the project."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._clockwork = Clockwork()
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """One round of the scheduler's own entries, and of ours; seconds until the next one."""
        theirs: float | None = super().tick(*args, **kwargs)  # type: ignore[misc]
        ours = self._clockwork.advance()
        return ours if theirs is None else min(theirs, ours)

    def close(self) -> None:
        """Let go of everything."""
        try:
            super().close()  # type: ignore[misc]
        finally:
            self._clockwork.close()


class Scheduler(KeepsSchedules, beat.Scheduler):
    """The scheduler of `celery -A cf_workers beat`."""
