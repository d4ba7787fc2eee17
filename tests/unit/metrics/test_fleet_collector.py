"""The fleet's state as metrics: what is there, under which labels, and what it costs to read."""

from __future__ import annotations

import pytest
import redis
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from cf_workers._redis import Keys
from cf_workers.cache.stats import CacheStats
from cf_workers.errors import ProviderDownError, ServerUnreachableError
from cf_workers.metrics import CollectorPolicy, FleetCollector, exposition
from cf_workers.reliability.queues import QueueState
from cf_workers.resilience import (
    Ask,
    BreakerPolicy,
    Guard,
    GuardPolicy,
    LimitsPolicy,
    Scope,
    WindowPolicy,
    failed,
)
from cf_workers.wire import QUEUES
from cf_workers.workflows.liveness import Heartbeat
from cf_workers.workflows.outcome import Outcome
from tests.support.engine import Engine, FakeServer, fake_client, plan

SCOPE = Scope("c0ffee", "opus")
OF = {"credential": "c0ffee", "model_class": "opus"}
SPENT = Outcome(
    "succeeded",
    attempts=1,
    result={"agent": "writer", "model": "claude-haiku-4-5"},
    input_tokens=1200,
    output_tokens=300,
    cost_nanos=2_700_000,
)


class World:
    """An engine with a guard that has limits, and what a monitoring system sees of them."""

    def __init__(self) -> None:
        server = FakeServer()
        self.engine = Engine(client=fake_client(server))
        self.guard = Guard(
            self.engine.client,
            Keys(),
            GuardPolicy(
                breaker=BreakerPolicy(consecutive_failures=1),
                limits=LimitsPolicy(requests_per_minute=600, burst_seconds=2),
                window=WindowPolicy(cap=9),
            ),
        )
        self.queues = [QueueState(queue, at) for at, queue in enumerate(QUEUES)]
        self.cache = CacheStats(hits=5, misses=2, entries=3, bytes=999)
        self.looks = 0
        self.now = 0.0

    def look(self, queues):
        self.looks += 1
        return self.queues

    def collector(self, **policy) -> FleetCollector:
        return FleetCollector(
            self.engine.client,
            self.engine.keys,
            guard=self.guard,
            look=self.look,
            cache=lambda: self.cache,
            policy=CollectorPolicy(**policy),
            clock=lambda: self.now,
        )

    def scraped(self, collector: FleetCollector | None = None) -> dict[tuple, float]:
        """Every sample, by its name and labels, as a parser reads it."""
        registry = CollectorRegistry()
        registry.register(collector or self.collector())
        content_type, text = exposition(registry)
        assert content_type.startswith("text/plain")
        families = list(text_string_to_metric_families(text.decode()))
        assert all(family.documentation.endswith(".") for family in families)
        assert len({family.name for family in families}) == len(families)
        return {
            (sample.name.removeprefix("cf_workers_"), *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }


@pytest.fixture
def world():
    made = World()
    yield made
    made.engine.close()


def labelled(name: str, **labels: str) -> tuple:
    return (name, *sorted(labels.items()))


def test_work_is_told_by_what_it_waits_for(world) -> None:
    header = world.engine.record(plan("a", "b", "c"), "r1")
    world.engine.claim(header, "a")
    parked = world.engine.claim(header, "b")
    world.engine.store.park(parked, countdown=60, reason="busy")
    retried = world.engine.claim(header, "c")
    world.engine.store.defer(retried, attempts=1, countdown=9, reason="503", lost_calls=1)

    found = world.scraped()

    names = (
        "server_up",
        "active_runs",
        "running_steps",
        "parked_steps",
        "retrying_steps",
        "lost_calls_total",
    )
    assert [found[name,] for name in names] == [1] * 6
    assert found[labelled("queue_messages", queue="batch")] == 2


def test_what_was_spent_today_is_told_by_model(world) -> None:
    header = world.engine.record(plan("a"), "r1")
    world.engine.finish_step(header, "a", SPENT)

    found = world.scraped()

    model = "claude-haiku-4-5"
    assert found[labelled("tokens_total", model=model, kind="input")] == 1200
    assert found[labelled("tokens_total", model=model, kind="output")] == 300
    assert found[labelled("cost_usd_total", model=model)] == 0.0027
    assert found[labelled("executions_total", model=model, status="succeeded")] == 1


def test_guards_are_told_by_scope(world) -> None:
    permits = [world.guard.admit(Ask(SCOPE, lane="interactive")).permit for _ in range(9)]
    for number in range(4):
        world.guard.admit(Ask(SCOPE, waiter=f"r{number}", tenant=f"t{number}"))

    found = world.scraped()

    assert found[labelled("permits_in_flight", **OF)] == 9
    assert found[labelled("permits_most", **OF)] == 9
    assert found[labelled("waiting_calls", reason="in_flight", **OF)] == 4
    assert found[labelled("waiting_calls_by_lane", lane="batch", **OF)] == 4
    assert found[labelled("refusals_total", reason="in_flight", **OF)] == 4
    assert found[labelled("limit_per_minute", kind="requests", **OF)] == 600
    assert 0.5 < found[labelled("limit_fill_ratio", kind="requests", **OF)] < 0.7
    assert found[labelled("breaker_state", state="closed", **OF)] == 1

    world.guard.settle(permits[0], failed(ProviderDownError("scripted", {"status": 503})))
    world.now += 10
    found = world.scraped()

    states = {state: found[labelled("breaker_state", state=state, **OF)] for state in ("closed", "open")}
    assert states == {"closed": 0, "open": 1}
    assert found[labelled("breaker_changes_total", **OF)] == 1
    assert 0 < found[labelled("breaker_open_seconds", **OF)] < 6


def test_tenants_and_waiters_are_no_labels(world) -> None:
    for _ in range(9):
        world.guard.admit(Ask(SCOPE, lane="interactive"))
    before = set(world.scraped())
    for number in range(200):
        world.guard.admit(Ask(SCOPE, waiter=f"r{number}", tenant=f"t{number}"))
    world.now += 10

    assert len(set(world.scraped()) - before) <= 4


def test_models_beyond_a_number_are_told_together(world) -> None:
    for number in range(6):
        header = world.engine.record(plan("a"), f"r{number}")
        result = {"agent": "writer", "model": f"model-{number}"}
        outcome = Outcome("succeeded", attempts=1, result=result, input_tokens=10 + number, output_tokens=1)
        world.engine.finish_step(header, "a", outcome)

    found = world.scraped(world.collector(most_models=2))

    inputs = {dict(key[1:])["model"]: value for key, value in found.items() if ("kind", "input") in key}
    assert inputs == {"model-5": 15, "model-4": 14, "other": 10 + 11 + 12 + 13}


def test_calls_that_went_by_the_guards_are_told(world) -> None:
    Heartbeat(
        world.engine.client,
        world.engine.keys,
        worker="w1",
        about=lambda: {"queues": list(QUEUES), "guard_blind": True},
    ).beat()
    world.engine.client.hset(Keys().counters, mapping={"guard_blind_calls": 7, "guard_failures": 2})

    found = world.scraped()

    assert (found["workers",], found["guard_blind_workers",]) == (1, 1)
    assert (found["guard_blind_calls_total",], found["guard_failures_total",]) == (7, 2)


def test_the_cache_is_told_and_its_absence_takes_nothing_else_away(world) -> None:
    found = world.scraped()
    assert found[labelled("cache_operations_total", result="hits")] == 5
    assert found["cache_entries",] == 3

    def gone() -> CacheStats:
        raise ServerUnreachableError("gone")

    collector = world.collector()
    collector._cache = gone
    assert world.scraped(collector)["server_up",] == 1


def test_a_server_that_does_not_answer_is_told_and_nothing_else(world, monkeypatch) -> None:
    def gone(*_, **__):
        raise redis.ConnectionError("redis://:secret@host refused")

    collector = world.collector()
    monkeypatch.setattr(world.engine.client, "pipeline", gone)

    assert world.scraped(collector) == {("server_up",): 0}


def test_many_who_scrape_at_once_make_the_server_work_once(world) -> None:
    collector = world.collector()
    for _ in range(5):
        world.scraped(collector)
    assert world.looks == 1

    world.now += 1.5
    world.scraped(collector)
    assert world.looks == 2
