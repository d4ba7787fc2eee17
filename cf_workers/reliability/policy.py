"""How patient is a worker?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ATTRIBUTE = "cf_workers_reliability_policy"


@dataclass(frozen=True)
class ReliabilityPolicy:
    """Waits and limits of a worker's repairs, in seconds.

    Args:
        requeue_delay: how long a message that failed outside its task stays held before it goes back;
            meanwhile it takes up a slot, so that a broken backend is not hammered.
        abandon_after: how long a worker told to stop at once waits for cancelled tasks to notice.
        heartbeat_file: touched while the worker is alive, for a liveness probe; none means off.
        heartbeat_every: between two touches.
        reserves: by queue, the share of a worker's slots that it leaves free for the other queues.
        spare: by queue, how many slots it has on top, for threads only.
        computing: threads that compute at once while others wait in order. Enough that the processor does not
            lie idle while some of them ask Redis, which a step does nine times.
    """

    requeue_delay: float = 2.0
    abandon_after: float = 3.0
    heartbeat_file: Path | None = None
    heartbeat_every: float = 5.0
    reserves: Mapping[str, float] = field(default_factory=dict)
    spare: Mapping[str, int] = field(default_factory=dict)
    computing: int = 8


def attach(app: Any, policy: ReliabilityPolicy) -> None:
    """Give the app its policy; pools and steps, which Celery builds, find it there."""
    setattr(app, _ATTRIBUTE, policy)


def policy_of(app: Any) -> ReliabilityPolicy:
    """The app's policy, or the defaults if it has none."""
    return getattr(app, _ATTRIBUTE, None) or ReliabilityPolicy()
