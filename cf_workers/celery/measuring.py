"""What is measured in this process, and who may ask for it?"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from cf_workers._redis import RedisClient, connect
from cf_workers.answers import open_cache
from cf_workers.application import Context
from cf_workers.errors import ConfigError
from cf_workers.health import Examiner, ProbeServer
from cf_workers.reliability.queues import LooksAtQueues, look_at_queues
from cf_workers.settings import Settings
from cf_workers.tasks.answering import Answering, Direct
from cf_workers.tasks.app import app
from cf_workers.tasks.metered import Metered
from cf_workers.tasks.runtime import Runtime

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_PROBE_TIMEOUT = 2.0


@cache
def _registry() -> CollectorRegistry:
    """Where the metrics of this process are found."""
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


def measured(direct: Direct, settings: Settings) -> Answering:
    """Measures calls where somebody may ask for it: loading what that takes is not free."""
    if settings.health.port is None:
        return direct
    from cf_workers.metrics import CallMeter

    return Metered(direct, CallMeter(_registry()))


def start_probes(context: Context, found: Runtime) -> ProbeServer | None:
    """Answer probes and tell metrics over HTTP, if a port is set for it.

    Raises:
        ConfigError: the port is taken.
    """
    settings = context.settings
    if settings.health.port is None:
        return None
    client = connect(context.redis_url, timeout_seconds=_PROBE_TIMEOUT)
    look = partial(look_at_queues, app)
    server = ProbeServer(
        lambda: found.heartbeat.running,
        Examiner.of(settings, client, look).examine,
        metrics=_metrics(context, found, client, look),
        host=settings.health.host,
        port=settings.health.port,
    )
    try:
        server.start()
    except OSError as error:
        address = f"{settings.health.host}:{settings.health.port}"
        hint = "another process has it, for example a second worker: set CF_WORKERS_HEALTH__PORT for each"
        raise ConfigError(f"probes cannot be served at {address}: {error.strerror}", {"hint": hint}) from None
    return server


def _metrics(
    context: Context, found: Runtime, client: RedisClient, look: LooksAtQueues
) -> Callable[[str], tuple[str, bytes]]:
    """Tells the fleet's metrics and those of this process."""
    from cf_workers.metrics import FleetCollector, WorkerCollector, exposition

    registry = _registry()
    registry.register(WorkerCollector(found.guard, found.heartbeat))
    numbers = open_cache(context, max_connections=2).stats
    registry.register(FleetCollector.of(context.settings, client, look, cache=numbers))
    return lambda accept: exposition(registry, accept)
