"""What does a process that executes steps do beside executing them?"""

from __future__ import annotations

import gc
from dataclasses import dataclass

from cf_workers._redis import load_scripts
from cf_workers.agents.definition import Usage
from cf_workers.agents.models import DEFAULT_MODEL
from cf_workers.agents.prices import cost_usd
from cf_workers.application import default_context
from cf_workers.celery.measuring import start_probes
from cf_workers.health import ProbeServer
from cf_workers.tasks import runtime
from cf_workers.tasks.app import app
from cf_workers.tasks.turns import Turns
from cf_workers.workflows.reconciler import Reconciler

_UNKNOWN = 1
_NOT_FOUND = "404"
_GARBAGE_THRESHOLD = 50_000
"""New objects before the collector looks; at Python's 700 it takes a tenth of a busy worker's CPU time."""


@dataclass(frozen=True)
class Duties:
    """The threads of one process: heartbeat, reconciler and, where a port is set, probes."""

    runtime: runtime.Runtime
    reconciler: Reconciler
    probes: ProbeServer | None

    @classmethod
    def begin(cls, *, in_child: bool = False) -> Duties:
        """Load and connect what a first call would wait for, then write the liveness key.

        Args:
            in_child: of prefork; the port for probes is one, and its parent's children are many.
        """
        context, found = default_context(), runtime.current()
        found.provider.warm()
        cost_usd(DEFAULT_MODEL, Usage())  # loads the table of prices
        load_scripts(found.client)
        found.launcher.warm()
        found.heartbeat.start()
        reconciler = Reconciler(
            found.client,
            found.keys,
            store=found.store,
            launcher=found.launcher,
            heartbeat=found.heartbeat,
            queue_length=_queue_length,
            forward=Turns(found.client, found.guard).bring_forward,
            chores=[found.batches.remind] if found.batches is not None else [],
            policy=context.settings.reconciler_policy,
        )
        reconciler.start()
        _settle_memory()
        return cls(found, reconciler, None if in_child else start_probes(context, found))

    def end(self) -> None:
        """Stop them, and let go of connections."""
        if self.probes is not None:
            self.probes.stop()
        self.reconciler.stop()
        self.runtime.heartbeat.stop()
        self.runtime.provider.close()


def _queue_length(queue: str) -> int:
    """Messages waiting in a queue; a number above zero where the broker does not say.

    On Redis a queue without messages does not exist.
    """
    with app.connection_for_read() as connection:
        try:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors as error:
            return 0 if str(getattr(error, "reply_code", None)) == _NOT_FOUND else _UNKNOWN


def _settle_memory() -> None:
    """What is loaded now stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
