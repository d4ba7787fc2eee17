"""What do all beats agree on? Per schedule in Redis: up to when it has ticked, and its latest run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from cf_workers._redis import Keys, RedisClient, Script

Choice = Literal["start", "cancel", "queue", "skip", "missed"]
Decided = Literal["start", "cancel", "queue", "skip", "missed", "done"]

KEPT_SECONDS = 400 * 86_400
"""Longer than the longest wait between two ticks that people write: a year."""

_DECIDE, _SETTLE, _ADOPT = (Script(__package__, name) for name in ("decide", "settle", "adopt"))


@dataclass(frozen=True)
class Standing:
    """Where a schedule stands.

    Args:
        timing: the times it was last seen with; `None` when no beat has seen it.
        last: Unix seconds of the latest tick that is settled, whatever became of it.
        run: the latest run that it started, by a tick or by hand.
        planned: Unix seconds of the tick that started it; `None` when it was started by hand.
        waiting: ticks that wait for the end of that run, the oldest first.
    """

    timing: str | None = None
    last: int = 0
    run: str | None = None
    planned: int | None = None
    skipped: int = 0
    missed: int = 0
    waiting: tuple[int, ...] = ()


class Ledger:
    """The standings of all schedules of one namespace."""

    def __init__(self, client: RedisClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    def standings(self, names: Sequence[str]) -> dict[str, Standing]:
        """Where these schedules stand, in one round trip."""
        with self._client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(self._keys.schedule(name))
                pipe.zrange(self._keys.schedule_waiting(name), 0, -1)
            answers = pipe.execute()
        return {
            name: _standing(record, waiting)
            for name, record, waiting in zip(names, answers[::2], answers[1::2], strict=True)
        }

    def adopt(self, name: str, timing: str, now: int, *, grace_seconds: float) -> None:
        """Let a new schedule begin at `now`, and a changed one not much before."""
        _ADOPT(
            self._client,
            {"standing": self._keys.schedule(name)},
            {"timing": timing, "now": now, "grace": int(grace_seconds), "ttl": KEPT_SECONDS},
        )

    def decide(self, name: str, planned: int, choice: Choice, *, longest: int) -> tuple[Decided, str]:
        """Propose what becomes of a tick; returns what does, and the run to be cancelled for it.

        Args:
            longest: ticks that may wait at most; a further one is skipped.
        """
        decided, previous = _DECIDE(
            self._client,
            {"standing": self._keys.schedule(name), "waiting": self._keys.schedule_waiting(name)},
            {"planned": planned, "choice": choice, "longest": longest, "ttl": KEPT_SECONDS},
        )
        return cast("Decided", decided), str(previous)

    def settle(self, name: str, planned: int, run: str, *, waited: bool) -> bool:
        """Note that a tick has started a run; false when another beat has."""
        return bool(
            _SETTLE(
                self._client,
                {"standing": self._keys.schedule(name), "waiting": self._keys.schedule_waiting(name)},
                {"planned": planned, "run": run, "waited": waited, "ttl": KEPT_SECONDS},
            )
        )

    def note_run(self, name: str, run: str) -> None:
        """Note a run that was started by hand; the next tick treats it as one of its own."""
        key = self._keys.schedule(name)
        with self._client.pipeline() as pipe:
            pipe.hset(key, "run", run)
            pipe.hdel(key, "planned")
            pipe.expire(key, KEPT_SECONDS)
            pipe.execute()


def _standing(record: dict[str, str], waiting: Sequence[str]) -> Standing:
    return Standing(
        timing=record.get("timing"),
        last=int(record.get("last", 0)),
        run=record.get("run"),
        planned=int(record["planned"]) if "planned" in record else None,
        skipped=int(record.get("skipped", 0)),
        missed=int(record.get("missed", 0)),
        waiting=tuple(int(tick) for tick in waiting),
    )
