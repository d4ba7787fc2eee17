"""What do our pages read, and from where?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from cf_workers._redis import Keys, RedisClient, connect
from cf_workers.answers import open_cache
from cf_workers.application import Context
from cf_workers.cache import CacheStats
from cf_workers.client.operations import Operations
from cf_workers.errors import ConfigError, DefinitionMissingError
from cf_workers.flower.pages import RunPage, RunsPage, run_page, runs_page
from cf_workers.metrics import FleetCollector
from cf_workers.reliability.queues import look_at_queues
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.explaining import Wait
from cf_workers.workflows.graph import Graph
from cf_workers.workflows.history import History
from cf_workers.workflows.outcome import FINAL

RUNS_A_PAGE = 25
_TIMEOUT_SECONDS = 3.0
_CONNECTIONS = 16


class Reading:
    """Reads runs and the fleet's metrics; changes nothing.

    Args:
        explain: what each step of a run waits for.
        collector: of the fleet's metrics.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        *,
        explain: Callable[[str], Sequence[Wait]],
        collector: Collector,
    ) -> None:
        self._client = client
        self._keys = keys
        self._history = History(client, keys, Definitions(client, keys))
        self._explain = explain
        self._registry = CollectorRegistry()
        self._registry.register(collector)

    def runs(self, number: int) -> RunsPage:
        """A page of runs, the newest first.

        Args:
            number: from 1; beyond the last one, the last one.

        Raises:
            redis.RedisError: the server does not answer.
        """
        total = int(self._client.zcard(self._keys.runs))
        pages = max(1, -(-total // RUNS_A_PAGE))
        number = min(max(1, number), pages)
        found = self._history.newest(limit=RUNS_A_PAGE, offset=(number - 1) * RUNS_A_PAGE)
        return runs_page(found, number=number, pages=pages, total=total)

    def run(self, run: str) -> RunPage:
        """A run with its steps, without what was asked and answered.

        Raises:
            UnknownRunError: there is no such run.
            redis.RedisError: the server does not answer.
            kombu.exceptions.OperationalError: the broker does not answer.
        """
        document = self._history.document(run, outputs=False)
        try:
            graph = self._history.plan(run).graph
            waits = () if document["status"] in FINAL else self._explain(run)
        except DefinitionMissingError:
            graph, waits = Graph({}), ()
        return run_page(document, graph, waits)

    def metrics(self) -> bytes:
        """The fleet's metrics, as text; a server that does not answer is one of them."""
        return generate_latest(self._registry)


def open_reading(context: Context, app: Any) -> Reading:
    """Reads what belongs to a context; nothing is sent before it is first used.

    Args:
        app: asks the broker for its queues.
    """
    settings = context.settings
    client = connect(context.redis_url, max_connections=_CONNECTIONS, timeout_seconds=_TIMEOUT_SECONDS)
    keys = Keys(settings.namespace)
    operations = Operations(context, app=lambda: app, reaching=nullcontext)
    look = partial(look_at_queues, app)
    collector = FleetCollector.of(settings, client, look, cache=_numbers_of_cache(context))
    return Reading(client, keys, explain=lambda run: operations.explain(run).waits, collector=collector)


def _numbers_of_cache(context: Context) -> Callable[[], CacheStats] | None:
    """`None` where its secret is not known: workers need that, and Flower runs without."""
    try:
        return open_cache(context, max_connections=2).stats
    except ConfigError:
        return None
