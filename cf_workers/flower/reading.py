"""What do our pages read, and from where?"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from cf_workers._redis import Keys, connect
from cf_workers.answers import open_cache
from cf_workers.application import Context
from cf_workers.client.operations import Operations
from cf_workers.errors import ConfigError, DefinitionMissingError
from cf_workers.flower.pages import RunPage, RunsPage, run_page, runs_page
from cf_workers.metrics import FleetCollector
from cf_workers.reliability.queues import look_at_queues
from cf_workers.resilience import Guard
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.explaining import Wait
from cf_workers.workflows.graph import Graph
from cf_workers.workflows.history import FINAL, History

RUNS_A_PAGE = 25
_TIMEOUT_SECONDS = 3.0
_CONNECTIONS = 16


class Reading:
    """Reads runs and the fleet's metrics; changes nothing. Connects when first asked.

    Args:
        app: asks the broker for its queues.
    """

    def __init__(self, context: Context, app: Any) -> None:
        self._context = context
        self._app = app
        self._keys = Keys(context.settings.namespace)
        self._operations = Operations(context, app=lambda: app, reaching=nullcontext)

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
        except DefinitionMissingError:
            graph = Graph({})
        return run_page(document, graph, self._waits(document))

    def metrics(self) -> bytes:
        """The fleet's metrics, as text."""
        return generate_latest(self._registry)

    def _waits(self, document: dict[str, Any]) -> list[Wait]:
        if document["status"] in FINAL:
            return []
        try:
            return list(self._operations.explain(document["run_id"]).waits)
        except DefinitionMissingError:
            return []

    @cached_property
    def _client(self) -> Any:
        return connect(
            self._context.redis_url, max_connections=_CONNECTIONS, timeout_seconds=_TIMEOUT_SECONDS
        )

    @cached_property
    def _history(self) -> History:
        return History(self._client, self._keys, Definitions(self._client, self._keys))

    @cached_property
    def _registry(self) -> CollectorRegistry:
        settings = self._context.settings
        try:
            cache = open_cache(self._context, max_connections=2).stats
        except ConfigError:  # it has no secret here, and nobody but workers needs one
            cache = None
        registry = CollectorRegistry()
        registry.register(
            FleetCollector(
                self._client,
                self._keys,
                guard=Guard(self._client, Keys(), settings.guard_policy),
                look=lambda queues: look_at_queues(self._app, queues),
                cache=cache,
                liveness=settings.liveness_policy,
            )
        )
        return registry
