"""What does a task work with? The collaborators of this process, wired once by the composition root."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cf_workers._redis import Keys, RedisClient
from cf_workers.agents.definition import AgentDefinition
from cf_workers.batches import BatchPolicy
from cf_workers.planning import ExecutionOptions, Planned
from cf_workers.resilience import Guard
from cf_workers.tasks.answering import Answering, Model
from cf_workers.tasks.batch_lane import BatchLane
from cf_workers.tasks.outage import Outlast
from cf_workers.warming import Warmer
from cf_workers.workflows.dead_letters import DeadLetters
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.history import History
from cf_workers.workflows.keyed_cache import KeyedCache
from cf_workers.workflows.launcher import Launcher
from cf_workers.workflows.liveness import Heartbeat
from cf_workers.workflows.plan import PlannedStep
from cf_workers.workflows.record import RunStore


class Provider(Model, Protocol):
    """A provider that a process keeps ready."""

    def warm(self) -> None:
        """Load and connect what the first call would otherwise wait for."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


Planner = Callable[[str, ExecutionOptions, str], Planned]
"""Looks an agent up in the process's project and plans one execution of it, for a task."""


@dataclass(frozen=True)
class Runtime:
    """The collaborators of one worker process.

    Args:
        woken: set when parked steps were woken that are to go on at once.
    """

    client: RedisClient
    keys: Keys
    store: RunStore
    history: History
    definitions: Definitions
    agents: KeyedCache[str, AgentDefinition]
    launcher: Launcher
    heartbeat: Heartbeat
    dead_letters: DeadLetters
    provider: Provider
    answering: Answering
    guard: Guard
    is_cacheable: Callable[[PlannedStep], bool]
    plan_execution: Planner
    max_task_chars: int
    warmer: Warmer
    batches: BatchLane | None = None
    outlast: Outlast = field(default_factory=Outlast)
    woken: threading.Event = field(default_factory=threading.Event)

    @property
    def batch_policy(self) -> BatchPolicy | None:
        """How the batch lane works; `None` where there is none."""
        return self.batches.policy if self.batches is not None else None


_factory: Callable[[], Runtime] | None = None
_current: tuple[int, Runtime] | None = None
_lock = threading.Lock()


def install(factory: Callable[[], Runtime]) -> None:
    """Say how the runtime of a process is made; it is made when first needed, in each process for itself."""
    global _factory, _current
    with _lock:
        _factory, _current = factory, None


def current() -> Runtime:
    """The runtime of this process, made anew after a fork.

    Raises:
        RuntimeError: nobody said how to make one.
    """
    global _current  # noqa: PLW0603
    found = _current
    if found is not None and found[0] == os.getpid():
        return found[1]
    with _lock:
        if _current is None or _current[0] != os.getpid():
            if _factory is None:
                raise RuntimeError("no runtime installed: import cf_workers.celery first")
            _current = (os.getpid(), _factory())
        return _current[1]
