"""What does a worker process know of itself that nobody else does?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from cf_workers.metrics.families import counter, gauge
from cf_workers.resilience import Guard
from cf_workers.workflows.liveness import Heartbeat


class WorkerCollector(Collector):
    """Yields the metrics of one process; they are there even while its server is not."""

    def __init__(self, guard: Guard, heartbeat: Heartbeat) -> None:
        self._guard = guard
        self._heartbeat = heartbeat

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are known once somebody scrapes."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families as they are now."""
        guard, heartbeat = self._guard, self._heartbeat
        yield gauge("worker_running_steps", "Steps that this worker is executing.", heartbeat.held)
        yield gauge(
            "worker_guard_blind", "1 if this worker makes calls without asking the guards.", guard.blind
        )
        yield counter(
            "worker_guard_blind_calls",
            "Calls that this worker made without asking the guards.",
            guard.blind_admissions,
        )
        yield counter(
            "worker_guard_failures", "Failures of the server under this worker's guards.", guard.failures
        )
        yield counter(
            "worker_heartbeat_failures", "Heartbeats that this worker could not send.", heartbeat.failures
        )
