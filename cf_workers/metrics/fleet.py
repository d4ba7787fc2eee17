"""What is the fleet's state? Read from Redis when somebody scrapes, a few round trips for all of it."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import redis
from kombu.exceptions import OperationalError
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from cf_workers._redis import Keys, RedisClient
from cf_workers.cache.stats import CacheStats
from cf_workers.errors import ServerUnreachableError
from cf_workers.metrics.families import counter, counters, gauge, gauges, largest
from cf_workers.metrics.guards import guard_families
from cf_workers.money import usd
from cf_workers.reliability.queues import LooksAtQueues
from cf_workers.resilience import Guard, ScopeStatus
from cf_workers.settings import Settings
from cf_workers.wire import QUEUES
from cf_workers.workflows.accounts import Accounts, today
from cf_workers.workflows.liveness import LivenessPolicy, live_workers

log = logging.getLogger(__name__)

_TOKENS = ("input_tokens", "output_tokens")
_ENDS = ("succeeded", "failed", "cancelled")
_CACHE_COUNTS = ("hits", "misses", "stale_hits", "stores", "evictions", "integrity_failures", "failures")


@dataclass(frozen=True)
class CollectorPolicy:
    """What bounds a scrape.

    Args:
        fresh_seconds: a reading serves all who scrape within this time.
        most_scopes: pairs of credential and class of models, the first by name.
        most_models: models named in labels, by what they cost; the others are `other`.
        most_sums: a day with more sums of its own than this is not added up.
    """

    fresh_seconds: float = 1.0
    most_scopes: int = 50
    most_models: int = 30
    most_sums: int = 50_000


class FleetCollector(Collector):
    """Yields the fleet's metrics; register it with a registry, or call `collect`.

    A server that does not answer is a metric as well: `cf_workers_server_up` is 0, and there is no other.

    Args:
        client: its time-outs bound a scrape.
        keys: of the namespace whose runs, workers and sums are told; queues and guards are the server's.
        look: asks the broker for the state of queues.
        cache: the numbers of the response cache, where there is one.
        clock: seconds that pass.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        *,
        guard: Guard,
        look: LooksAtQueues,
        cache: Callable[[], CacheStats] | None = None,
        liveness: LivenessPolicy | None = None,
        policy: CollectorPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._keys = keys
        self._guard = guard
        self._look = look
        self._cache = cache
        self._liveness = liveness
        self.policy = policy or CollectorPolicy()
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._read: list[Metric] = []

    @classmethod
    def of(
        cls,
        settings: Settings,
        client: RedisClient,
        look: LooksAtQueues,
        *,
        cache: Callable[[], CacheStats] | None,
    ) -> FleetCollector:
        """What tells of a namespace as its settings say."""
        return cls(
            client,
            Keys(settings.namespace),
            guard=Guard(client, Keys(), settings.guard_policy),
            look=look,
            cache=cache,
            liveness=settings.liveness_policy,
        )

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry that asks for names must not ask the server."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families as they are now."""
        with self._lock:
            if self._clock() - self._read_at >= self.policy.fresh_seconds:
                self._read = self._families()
                self._read_at = self._clock()
            found = self._read
        yield from found

    def _families(self) -> list[Metric]:
        says = "1 if the server of the fleet answers, else 0."
        try:
            return [
                gauge("server_up", says, 1),
                *self._work(),
                *self._queues(),
                *self._unasked(),
                *guard_families(self._statuses()),
                *self._spent(),
                *self._cached(),
            ]
        except (redis.RedisError, OperationalError, OSError) as error:
            log.warning("metrics.unread error=%s", type(error).__name__)
            return [gauge("server_up", says, 0)]

    def _work(self) -> Iterator[Metric]:
        keys = self._keys
        with self._client.pipeline(transaction=False) as pipe:
            for key in (keys.active, keys.claims, keys.due, keys.parked, keys.dead_letters):
                pipe.zcard(key)
            pipe.hget(keys.counters, "lost_calls")
            active, claims, due, parked, letters, lost = pipe.execute()
        yield gauge("active_runs", "Runs that have not ended.", active)
        yield gauge("running_steps", "Steps that a worker is executing.", claims)
        yield gauge("retrying_steps", "Steps that wait for another attempt.", due)
        yield gauge("parked_steps", "Steps that wait for leave to make their call.", parked)
        yield gauge("dead_letters", "Steps that were given up and may be requeued.", letters)
        yield counter(
            "lost_calls", "Calls that may have been paid and whose answer nobody has.", int(lost or 0)
        )

    def _queues(self) -> Iterator[Metric]:
        workers = live_workers(self._client, self._keys, self._liveness)
        yield gauge("workers", "Workers that are alive.", len(workers))
        blind = sum(bool(worker.get("guard_blind")) for worker in workers)
        yield gauge("guard_blind_workers", "Workers that make calls without asking the guards.", blind)
        states, now = list(self._look(QUEUES)), time.time()
        yield gauges(
            "queue_messages",
            "Messages that wait in a queue of the broker.",
            ["queue"],
            [((state.name,), float(state.length)) for state in states],
        )
        yield gauges(
            "queue_oldest_seconds",
            "For how long the oldest message of a queue has been waiting; 0 for an empty one.",
            ["queue"],
            [
                ((state.name,), 0.0 if state.oldest_sent_at is None else max(0.0, now - state.oldest_sent_at))
                for state in states
            ],
        )

    def _unasked(self) -> Iterator[Metric]:
        found = self._guard.unasked()
        yield counter("guard_blind_calls", "Calls that were made without asking the guards.", found.calls)
        yield counter("guard_failures", "Failures of the server under the guards.", found.failures)

    def _statuses(self) -> list[ScopeStatus]:
        return [self._guard.status(scope) for scope in self._guard.scopes()[: self.policy.most_scopes]]

    def _spent(self) -> Iterator[Metric]:
        """Sums of today: they begin again at midnight UTC, as counters may."""
        if self._client.hlen(self._keys.daily(today())) > self.policy.most_sums:
            return
        sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for row in Accounts(self._client, self._keys).day():
            for measure, number in row.sums.items():
                sums[measure][row.model] += number
        most = self.policy.most_models
        yield counters(
            "executions",
            "Steps that ended since midnight UTC.",
            ["model", "status"],
            [
                ((model, status), number)
                for status in _ENDS
                for model, number in largest(sums[status], most).items()
            ],
        )
        yield counters(
            "tokens",
            "Tokens used since midnight UTC.",
            ["model", "kind"],
            [
                ((model, kind.removesuffix("_tokens")), number)
                for kind in _TOKENS
                for model, number in largest(sums[kind], most).items()
            ],
        )
        for name, measure, says in (
            ("cost_usd", "cost_nanos", "US dollars spent since midnight UTC."),
            ("saved_usd", "saved_nanos", "US dollars that the cache has spared since midnight UTC."),
        ):
            spent = largest(sums[measure], most)
            yield counters(
                name, says, ["model"], [((model,), usd(number)) for model, number in spent.items()]
            )

    def _cached(self) -> Iterator[Metric]:
        """The cache may be on a server of its own, and that may be away alone."""
        try:
            found = self._cache() if self._cache is not None else None
        except ServerUnreachableError:
            found = None
        if found is None:
            return
        yield counters(
            "cache_operations",
            "What the response cache did.",
            ["result"],
            [((name,), float(getattr(found, name))) for name in _CACHE_COUNTS],
        )
        yield gauge("cache_entries", "Answers in the response cache.", found.entries)
        yield gauge("cache_bytes", "Bytes that the answers in the response cache take.", found.bytes)
