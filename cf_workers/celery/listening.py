"""What does a worker say of itself?"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from typing import Any

from cf_workers import __version__
from cf_workers.reliability.cancellation import draining

_queues: list[str] = []
_slots: list[int] = []


def note_queues(queues: Iterable[str], slots: int) -> None:
    """Remember which queues this worker takes from, which Celery knows only when it has set the worker up."""
    _queues[:] = queues
    _slots[:] = [slots]


def about(worker: str) -> Mapping[str, Any]:
    """What the liveness key of this process holds; a worker that drains listens no more."""
    return {
        "worker": worker,
        "host": platform.node(),
        "pid": os.getpid(),
        "version": __version__,
        "queues": [] if draining.is_set() else _queues,
        "slots": sum(_slots),
    }
