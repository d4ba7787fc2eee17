"""The composition root of a worker: settings become policies, policies collaborators, once per process.

`celery -A cf_workers worker` finds the application here.
"""

from __future__ import annotations

import gc
import logging
import os
import platform
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from celery import signals
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool as PreforkPool

from cf_workers import __version__
from cf_workers._redis import Keys, RedisClient, connect, load_scripts, server_time
from cf_workers.agents.batch_api import AnthropicBatches
from cf_workers.agents.definition import AgentDefinition, Usage
from cf_workers.agents.models import DEFAULT_MODEL
from cf_workers.agents.prices import cost_usd
from cf_workers.agents.provider import AnthropicProvider, ProviderPolicy
from cf_workers.answers import is_cacheable, open_cache
from cf_workers.application import Context, default_context
from cf_workers.batches import Courier, PackTable, RowTable
from cf_workers.budgets import Ledger
from cf_workers.errors import ConfigError
from cf_workers.flower import install as install_flower
from cf_workers.health import Examiner, HealthPolicy, ProbeServer
from cf_workers.planning import ExecutionOptions, Planned, plan_execution
from cf_workers.prefixes import Prefixes
from cf_workers.provenance import unknown_variables
from cf_workers.reliability import attach, spare_slots
from cf_workers.reliability.cancellation import draining
from cf_workers.reliability.queues import look_at_queues
from cf_workers.resilience import Guard, credential_digest
from cf_workers.tasks import runtime
from cf_workers.tasks.answering import Answering, Direct
from cf_workers.tasks.app import app
from cf_workers.tasks.batch_desk import BatchDesk
from cf_workers.tasks.batch_lane import BatchLane
from cf_workers.tasks.batch_money import BatchMoney
from cf_workers.tasks.batched import Batched
from cf_workers.tasks.budgeted import Budgeted, renew_all
from cf_workers.tasks.cached import Cached
from cf_workers.tasks.guarded import Guarded
from cf_workers.tasks.guarded_batches import GuardedBatches
from cf_workers.tasks.known_prompts import KnownPrompts
from cf_workers.tasks.lobby import Lobby
from cf_workers.tasks.metered import Metered
from cf_workers.tasks.poll import poll_batches
from cf_workers.tasks.turns import Turns
from cf_workers.tasks.warmed import Warmed
from cf_workers.tasks.withdrawing import withdraw
from cf_workers.warming import Warmer
from cf_workers.workflows.dead_letters import DeadLetters
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.history import History
from cf_workers.workflows.joins import Joins
from cf_workers.workflows.keyed_cache import KeyedCache
from cf_workers.workflows.launcher import Launcher
from cf_workers.workflows.liveness import Heartbeat
from cf_workers.workflows.reconciler import Reconciler
from cf_workers.workflows.record import RunStore

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["app"]

log = logging.getLogger(__name__)

_UNKNOWN = 1
_GUARD_TIMEOUT_SECONDS = 0.25
_PROBE_TIMEOUT = 2.0
_NOT_FOUND = "404"
_AGENTS_CACHED = 512
_POLL_EXPIRES = 30.0
_GARBAGE_THRESHOLD = 50_000
"""New objects before the collector looks; at Python's 700 it takes a tenth of a busy worker's CPU time."""


def build_runtime() -> runtime.Runtime:
    """The collaborators of this process; nothing is sent before they are used."""
    context = default_context()
    settings = context.settings
    client = connect(context.redis_url, max_connections=settings.worker.concurrency + 20)
    keys = Keys(settings.namespace)
    definitions = Definitions(client, keys)
    store = RunStore(client, keys, definitions, settings.record_policy)
    worker = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"

    def plan(agent: str, options: ExecutionOptions, task: str) -> Planned:
        return plan_execution(agent, context.project, settings, options, task=task)

    sending = ProviderPolicy(threads=settings.worker.concurrency, shards=settings.worker.shards)
    provider = AnthropicProvider(sending)
    guard = _guard(context)
    credential = _credential()
    prompts = KnownPrompts()
    guarded = Guarded(_measured(Direct(provider), context), guard, prompts, credential=credential)
    ledger = Ledger(client, keys, settings.budget_policy)
    budgeted = Budgeted(guarded, ledger, wake=store.unpark, cache_ttl=sending.cache_ttl)
    prefixes = Prefixes(client, keys, settings.warming_policy)
    warmed = _warmed(budgeted, prefixes, prompts, store)
    cache = open_cache(context, max_connections=settings.worker.concurrency + 20)
    cached = Cached(warmed, cache, namespace=settings.answers_namespace, wake=store.unpark)
    agents: KeyedCache[str, AgentDefinition] = KeyedCache(
        lambda digest: AgentDefinition.model_validate_json(definitions.get(digest)), size=_AGENTS_CACHED
    )
    policy = settings.batch_policy
    rows, packs = RowTable(client, keys, results_seconds=policy.results_seconds), PackTable(client, keys)
    api = AnthropicBatches(provider, submit_timeout_seconds=policy.submit_timeout_seconds)
    guarded_api = GuardedBatches(api, guard, credential=credential)
    money = BatchMoney(ledger, wake=store.unpark)
    desk = BatchDesk(store, agents.get, cache, money, policy=policy)
    batches = BatchLane(
        client,
        keys,
        packs,
        Courier(rows, packs, guarded_api, desk, clock=lambda: server_time(client), policy=policy),
        publish=lambda: poll_batches.apply_async(expires=_POLL_EXPIRES),
        worker=worker,
        also=guarded_api.renew,
        policy=policy,
    )
    return runtime.Runtime(
        client=client,
        keys=keys,
        store=store,
        history=History(client, keys, definitions),
        definitions=definitions,
        agents=agents,
        launcher=Launcher(app, store, definitions, Joins(app)),
        heartbeat=Heartbeat(
            client,
            keys,
            worker=worker,
            about=lambda: {**_about(worker), "guard_blind": guard.blind},
            also=renew_all(guarded.renew, budgeted.renew, batches.renew),
            policy=settings.liveness_policy,
        ),
        dead_letters=DeadLetters(client, keys, settings.dead_letter_policy),
        provider=provider,
        answering=Batched(
            cached, rows, packs, cache, money, namespace=settings.answers_namespace, policy=policy
        ),
        guard=guard,
        is_cacheable=lambda step: is_cacheable(context, step),
        plan_execution=plan,
        max_task_chars=settings.max_task_chars,
        warmer=Warmer(context, lambda: cache),
        batches=batches,
    )


runtime.install(build_runtime)
install_flower()


def _warmed(inner: Answering, prefixes: Prefixes, prompts: KnownPrompts, store: RunStore) -> Warmed:
    """Who waits for a first word goes on at once: from its slot, or without the reconciler's pause."""

    def wake(waiters: Sequence[str]) -> None:
        store.unpark(waiters)
        _woken.set()

    lobby = Lobby(prefixes, spare_slots)
    return Warmed(inner, prefixes, lobby, prompts, credential=_credential(), wake=wake)


def _guard(context: Context) -> Guard:
    settings = context.settings
    bounded = connect(
        context.redis_url,
        max_connections=settings.worker.concurrency + 20,
        timeout_seconds=_GUARD_TIMEOUT_SECONDS,
    )
    return Guard(bounded, Keys(), settings.guard_policy)


@cache
def _registry() -> CollectorRegistry:
    """Where the metrics of this process are found."""
    from prometheus_client import CollectorRegistry

    return CollectorRegistry()


def _measured(direct: Direct, context: Context) -> Answering:
    """Measures calls where somebody may ask for it: loading what that takes is not free."""
    if context.settings.health.port is None:
        return direct
    from cf_workers.metrics import CallMeter

    return Metered(direct, CallMeter(_registry()))


def _credential() -> str:
    """A name for the credential that the SDK will use, as far as the environment says."""
    found = os.environ.get("ANTHROPIC_API_KEY") or os.environ.get("ANTHROPIC_AUTH_TOKEN")
    return credential_digest(found) if found else "default"


_woken = threading.Event()
"""Set when parked steps were woken that are to go on at once."""
_queues: list[str] = []
_slots: list[int] = []


def _about(worker: str) -> Mapping[str, Any]:
    return {
        "worker": worker,
        "host": platform.node(),
        "pid": os.getpid(),
        "version": __version__,
        "queues": [] if draining.is_set() else _queues,
        "slots": sum(_slots),
    }


def queue_length(queue: str) -> int:
    """Messages waiting in a queue; a number above zero where the broker does not say.

    On Redis a queue without messages does not exist.
    """
    with app.connection_for_read() as connection:
        try:
            return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors as error:
            return 0 if str(getattr(error, "reply_code", None)) == _NOT_FOUND else _UNKNOWN


@dataclass(frozen=True)
class _Duties:
    """What a process that executes steps does beside executing them."""

    runtime: runtime.Runtime
    reconciler: Reconciler
    probes: ProbeServer | None

    @classmethod
    def begin(cls, *, in_child: bool = False) -> _Duties:
        """Load and connect what a first call would wait for, then write the liveness key."""
        found = runtime.current()
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
            queue_length=queue_length,
            forward=Turns(found.client, found.guard).bring_forward,
            chores=[found.batches.remind] if found.batches is not None else [],
            woken=_woken,
            policy=default_context().settings.reconciler_policy,
        )
        reconciler.start()
        _settle_memory()
        probes = None if in_child else _start_probes(default_context(), found)
        return cls(found, reconciler, probes)

    def end(self) -> None:
        if self.probes is not None:
            self.probes.stop()
        self.reconciler.stop()
        self.runtime.heartbeat.stop()
        self.runtime.provider.close()


def _settle_memory() -> None:
    """What is loaded now stays: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)


def _start_probes(context: Context, found: runtime.Runtime) -> ProbeServer | None:
    """Answer probes and tell metrics over HTTP, if a port is set for it."""
    settings = context.settings
    if settings.health.port is None:
        return None
    client = connect(context.redis_url, timeout_seconds=_PROBE_TIMEOUT)
    guard = Guard(client, Keys(), settings.guard_policy)
    examiner = Examiner(
        client,
        found.keys,
        guard=guard,
        look=lambda queues: look_at_queues(app, queues),
        liveness=settings.liveness_policy,
        policy=HealthPolicy(queue_age_seconds=settings.health.queue_age_seconds),
    )
    server = ProbeServer(
        lambda: found.heartbeat.running,
        examiner.examine,
        metrics=_metrics(context, found, client, guard),
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
    context: Context, found: runtime.Runtime, client: RedisClient, guard: Guard
) -> Callable[[str], tuple[str, bytes]]:
    """Tells the fleet's metrics and those of this process."""
    from cf_workers.metrics import FleetCollector, WorkerCollector, exposition

    registry = _registry()
    registry.register(WorkerCollector(found.guard, found.heartbeat))
    registry.register(
        FleetCollector(
            client,
            found.keys,
            guard=guard,
            look=lambda queues: look_at_queues(app, queues),
            cache=open_cache(context, max_connections=2).stats,
            liveness=context.settings.liveness_policy,
        )
    )
    return lambda accept: exposition(registry, accept)


_duties: dict[int, _Duties] = {}


@signals.celeryd_after_setup.connect(weak=False)
def _note_queues(instance: Any, **_: Any) -> None:
    if instance.app is app:
        _queues[:] = list(app.amqp.queues.consume_from)
        _slots[:] = [int(instance.concurrency or 0)]
        if duties := _duties.get(os.getpid()):
            duties.runtime.heartbeat.beat()  # the first one was before the queues were known


@signals.worker_init.connect(weak=False)
def _begin(sender: Any, **_: Any) -> None:
    """Make the process ready before it says so; the children of prefork begin for themselves."""
    if sender.app is not app:
        return
    attach(app, default_context().settings.reliability_policy)
    if not _forks(sender.pool_cls):
        _duties[os.getpid()] = _Duties.begin()


@signals.worker_ready.connect(weak=False)
def _announce(sender: Any, **_: Any) -> None:
    """Nothing is logged before Celery has set logging up."""
    duties = _duties.get(os.getpid())
    if sender.app is app and duties is not None and duties.probes is not None:
        duties.probes.announce()


@signals.worker_ready.connect(weak=False)
def _name_unknown_variables(sender: Any, **_: Any) -> None:
    """A mistyped variable is silently without effect."""
    if sender.app is app:
        for name, meant in unknown_variables():
            log.warning("variable.unknown name=%s meant=%s", name, meant or "?")


@signals.worker_ready.connect(weak=False)
def _say_ready(sender: Any, **_: Any) -> None:
    """Celery says so at the level INFO; a worker at its default level says it as well."""
    if sender.app is app and not logging.getLogger("celery.apps.worker").isEnabledFor(logging.INFO):
        print(f"{sender.hostname} ready.", flush=True)  # noqa: T201


@signals.worker_process_init.connect(weak=False)
def _begin_in_child(**_: Any) -> None:
    _duties[os.getpid()] = _Duties.begin(in_child=True)


@signals.task_revoked.connect(weak=False)
def _withdraw(sender: Any, request: Any, terminated: bool, **_: Any) -> None:
    """A task that runs hears of its revocation itself."""
    if sender.app is app and not terminated:
        withdraw(runtime.current(), sender.name, request.id, request.args or ())


@signals.worker_shutdown.connect(weak=False)
@signals.worker_process_shutdown.connect(weak=False)
def _end(**_: Any) -> None:
    if duties := _duties.pop(os.getpid(), None):
        duties.end()


def _forks(pool: Any) -> bool:
    return issubclass(get_implementation(pool), PreforkPool)
