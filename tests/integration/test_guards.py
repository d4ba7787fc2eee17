"""The guards with real workers and a provider that fails, limits, or has too little for all.

The same scenarios at full length, with their figures: `benchmarks/guards.py`.
"""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections import Counter
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cf_workers._redis import Keys, connect
from cf_workers.agents.models import DEFAULT_MODEL
from cf_workers.errors import ProviderDownError
from cf_workers.planning import WorkflowOptions
from cf_workers.resilience import Ask, Guard, Refused, Scope, credential_digest
from cf_workers.tasks.guarded import model_class
from tests.integration.test_failures import Receiver
from tests.support import eventually
from tests.support.brokers import redis_only
from tests.support.commands import Commands
from tests.support.stack import Stack, step

pytestmark = pytest.mark.integration

by_namespace = redis_only(
    "there a namespace's queues have a prefix; elsewhere it needs a virtual host of its own"
)

PERMANENT_KEYS = ("red:_kombu.*", "blue:_kombu.*")

FAILING = {"faults": [{"fault": "529", "rate": 0.5}, {"fault": "500", "rate": 1.0}]}
DOWN = {"faults": [{"fault": "500", "rate": 1.0}]}
WELL = {"faults": []}
BATCH = WorkflowOptions(lane="background")


class Fleet:
    """Starts runs of one step with tasks that nobody has asked before, and looks at the guards."""

    def __init__(self, stack: Stack, project, **settings: str) -> None:
        self.stack = stack
        self.project = project.workflow("one", step("only"))
        stack.settings |= {f"CF_WORKERS_{name}": value for name, value in settings.items()}
        self.guard = Guard(connect(stack.store.url, timeout_seconds=1), Keys())
        self.scope = Scope(credential_digest("sk-ant-simulated"), model_class(DEFAULT_MODEL))
        self.redis = stack.redis()
        self.client = stack.client(self.project)

    def start(self, number: int, *, client=None, **options):
        return [
            (client or self.client).start_workflow("one", f"Look into {uuid4().hex}", **options)
            for _ in range(number)
        ]

    def provider(self, **changes) -> None:
        self.stack.simulator.configure(**changes)

    @property
    def breaker(self):
        return self.guard.status(self.scope).breaker

    def eventually_open(self) -> None:
        eventually(lambda: self.breaker.state == "open", "the breaker to open")

    def open_breaker(self) -> list:
        """Let calls fail until the breaker opens; the runs that did so."""
        self.provider(**DOWN)
        runs = self.start(15)
        self.eventually_open()
        eventually(lambda: self.redis.zcard("cfw:parked") == len(runs), "all to be parked")
        self.provider(**WELL)
        return runs

    def close(self) -> None:
        self.redis.close()


@pytest.fixture
def fleet_of(own_stack, project):
    made = []

    def make(**settings: str) -> Fleet:
        made.append(Fleet(own_stack, project, **settings))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()


def ended(run) -> bool:
    return run.status() in {"succeeded", "failed", "cancelled"}


def all_succeed(runs, timeout: float = 40.0) -> bool:
    eventually(lambda: all(ended(run) for run in runs), "all runs to end", timeout=timeout, every=0.2)
    return Counter(run.status() for run in runs) == {"succeeded": len(runs)}


def test_an_outage_costs_probes_alone_and_fails_nobody(fleet_of):
    fleet = fleet_of(BREAKER__COOLDOWN_SECONDS="1", BREAKER__LONGEST_COOLDOWN_SECONDS="2")
    fleet.stack.worker()
    fleet.provider(**FAILING, latency=0.2)
    with Receiver(fleet.stack.broker_url) as receiver:
        runs = fleet.start(40)
        fleet.eventually_open()
        opened, refusals = time.time(), []
        while time.time() < opened + 5:
            if fleet.breaker.state == "open":
                began = time.perf_counter()
                refused = fleet.guard.admit(Ask(fleet.scope, input_tokens=100))
                refusals += [time.perf_counter() - began] * isinstance(refused, Refused)
        fleet.provider(**WELL)
        back = time.time()

        assert all_succeed(runs)
        reasons = [event["exception"] for event in receiver.events if event["type"] == "task-retried"]

    while_open = [call.received_at for call in fleet.stack.calls() if opened + 1 < call.received_at < back]
    per_second = Counter(int(at - opened) for at in while_open)
    assert max(per_second.values()) <= 3
    assert sorted(refusals)[int(len(refusals) * 0.99)] < 0.05
    answers = sorted(call.finished_at for call in fleet.stack.calls() if call.status == 200)
    assert answers[3] - back <= 2.2 + 2
    assert any("the circuit breaker is open" in reason for reason in reasons)
    assert any("OverloadedError" in reason for reason in reasons)


@by_namespace
def test_tenants_with_scarce_limits_all_get_through_and_are_hardly_ever_refused(fleet_of):
    """By which shares, and how much of the limits is used, is measured by `benchmarks/guards.py`."""
    fleet = fleet_of(
        LIMITS__REQUESTS_PER_MINUTE="900",
        LIMITS__BURST_SECONDS="2",
        LIMITS__WEIGHTS=json.dumps({"red": 1.0, "blue": 2.0}),
    )
    fleet.provider(requests_per_minute=900, burst_seconds=3.0, latency=0.2)
    runs, workers = [], []
    for name in ("red", "blue"):
        fleet.stack.settings["CF_WORKERS_NAMESPACE"] = name
        client = fleet.stack.client(fleet.project)
        runs += fleet.start(60, client=client, options=BATCH)
        workers.append(fleet.stack.celery("worker", "--without-mingle", "-l", "INFO", until=None))
    for worker in workers:
        worker.wait_for(" ready.")

    assert all_succeed(runs, timeout=60)

    calls = fleet.stack.calls()
    assert sum(call.status == 429 for call in calls) < 0.01 * len(calls)
    assert fleet.redis.hlen("unacked") == 0


@by_namespace
@pytest.mark.slow
def test_tenants_share_scarce_limits_by_weight_and_none_is_wasted(fleet_of):
    weights = {"red": 1.0, "blue": 2.0}
    fleet = fleet_of(
        LIMITS__REQUESTS_PER_MINUTE="900",
        LIMITS__BURST_SECONDS="2",
        LIMITS__WEIGHTS=json.dumps(weights),
    )
    fleet.provider(requests_per_minute=900, burst_seconds=3.0, latency=0.2)
    clients, workers, runs = {}, [], {name: [] for name in weights}
    for name in weights:
        fleet.stack.settings["CF_WORKERS_NAMESPACE"] = name
        clients[name] = fleet.stack.client(fleet.project)
        workers.append(fleet.stack.celery("worker", "--without-mingle", "-l", "INFO", until=None))
    for worker in workers:
        worker.wait_for(" ready.")
    for _ in range(80):
        for name, client in clients.items():
            runs[name] += fleet.start(1, client=client, options=BATCH)

    assert all_succeed([*runs["red"], *runs["blue"]], timeout=60)

    calls = fleet.stack.calls()
    assert sum(call.status == 429 for call in calls) < 0.01 * len(calls)
    arrivals = sorted(call.received_at for call in calls)
    assert len(calls) / (15 * (arrivals[-1] - arrivals[0]) + 30) > 0.85
    red, blue = (ends_of(fleet, name, runs[name]) for name in weights)
    while_both_waited = sum(end <= max(blue) for end in red)
    assert while_both_waited / (while_both_waited + len(blue)) == pytest.approx(1 / 3, rel=0.2)
    assert fleet.redis.hlen("unacked") == 0


def ends_of(fleet, namespace, runs) -> list[float]:
    keys = Keys(namespace)
    return [float(json.loads(fleet.redis.hget(keys.run(run.id).steps, "only"))["fin"]) for run in runs]


@pytest.fixture
def cf(own_stack, fleet_of, project, tmp_path):
    def commands() -> Commands:
        return Commands(tmp_path, project.root, own_stack.environ)

    return commands


def test_steps_wait_for_an_open_breaker_without_slot_or_message_and_come_back_in_time(fleet_of, cf):
    fleet = fleet_of(BREAKER__COOLDOWN_SECONDS="8", BREAKER__LONGEST_COOLDOWN_SECONDS="8")
    fleet.stack.worker()
    runs = fleet.open_breaker()
    runs += fleet.start(60)
    eventually(lambda: fleet.redis.zcard("cfw:parked") == 75, "all to be parked")
    eventually(lambda: fleet.stack.messages_left() == 0, "the last message to be acknowledged")

    assert fleet.redis.zcard("cfw:claims") == 0
    command = cf()
    status = command("breaker", "status", "--json").document["breakers"][0]
    health = command("health", "--json")
    in_a_hurry = fleet.client.start_workflow("one", "Now or never", options=WorkflowOptions(fail_fast=True))
    opens = fleet.breaker.until

    assert status["state"] == "open"
    assert (health.code, health.document["ready"]) == (1, False)
    assert "open" in health.document["reasons"][0]
    assert in_a_hurry.result(timeout=60).status == "failed"
    (failed,) = fleet.client.history.document(in_a_hurry.id)["results"].values()
    assert (failed["error"]["type"], failed["attempts"]) == (ProviderDownError.__name__, 0)
    assert all_succeed(runs)
    back = [call.received_at - opens for call in fleet.stack.calls() if call.received_at > opens - 1]
    assert -0.2 <= min(back) <= 2
    assert max(Counter(int(at) for at in back).values()) <= 100
    unknown = command("breaker", "reset", "nobody")
    assert (unknown.code, "no breaker has the scope 'nobody'" in unknown.err) == (2, True)
    assert command("health").code == 0


def test_a_breaker_that_is_reset_lets_parked_steps_go_on_long_before_their_time(fleet_of, cf):
    fleet = fleet_of(BREAKER__COOLDOWN_SECONDS="600", BREAKER__LONGEST_COOLDOWN_SECONDS="600")
    fleet.stack.worker()
    runs = fleet.open_breaker()

    assert cf()("breaker", "reset", "--json").document["closed"] == [str(fleet.scope)]

    assert all_succeed(runs, timeout=90)


@redis_only("elsewhere some workers serve interactive alone")
def test_interactive_work_finds_a_slot_though_batch_work_waits_for_the_whole_fleet(fleet_of, tmp_path):
    alive = tmp_path / "alive"
    fleet = fleet_of(WORKER__HEARTBEAT_FILE=str(alive))
    fleet.stack.worker("-c", "8")
    fleet.provider(latency=1.0)
    runs = fleet.start(24, options=BATCH)
    eventually(lambda: fleet.stack.simulator.stats().in_flight == 7, "batch to take what it may")
    assert alive.exists()

    waits = []
    for _ in range(2):
        began = time.time()
        fleet.client.submit("writer", f"Quick: {uuid4().hex}").result(timeout=60)
        waits.append(time.time() - began - 1.0)

    assert max(waits) < 1.0
    assert sum(ended(run) for run in runs) < len(runs)
    assert all_succeed(runs)
    assert fleet.stack.simulator.stats().peak_in_flight <= 8


def ask(worker, path):
    """Ask a worker that listens on a port of the system's choice: the status and the text of its answer."""
    worker.wait_for("probes.listening")
    port = re.search(r"probes.listening host=\S+ port=(\d+)", worker.output())[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
        return answer.status, answer.read().decode()


def probe(worker, path):
    status, text = ask(worker, path)
    return status, json.loads(text)


def metrics_of(worker) -> dict[str, float]:
    """What a worker tells a monitoring system: the sum of each metric's samples."""
    sums: Counter[str] = Counter()
    for family in text_string_to_metric_families(ask(worker, "metrics")[1]):
        for sample in family.samples:
            sums[sample.name.removeprefix("cf_workers_")] += sample.value
    return sums


def test_the_cap_on_calls_in_flight_holds_for_all_processes_together(fleet_of, cf):
    fleet = fleet_of(LIMITS__MAX_CONCURRENT_AGENTS="5", HEALTH__PORT="0")
    workers = [fleet.stack.celery("worker", "--without-mingle", "-l", "INFO", until=None) for _ in range(2)]
    for worker in workers:
        worker.wait_for(" ready.")
    fleet.provider(latency=1.0)

    runs = fleet.start(40)
    eventually(lambda: fleet.guard.status(fleet.scope).waiters.total > 5, "some to wait")
    limits = cf()("limits", "status").plain

    probes = [probe(worker, path) for worker in workers for path in ("healthz", "readyz")]
    assert [status for status, _ in probes] == [200] * 4
    assert probes[1][1]["checks"]["workers"]["says"] == "2 alive"
    assert "at most 5" in limits
    assert "the most calls that may be in flight are" in limits
    assert "refused so far" in limits
    assert all_succeed(runs)
    assert fleet.stack.simulator.stats().peak_in_flight == 5
    told = [metrics_of(worker) for worker in workers]
    assert [one["executions_total"] for one in told] == [40, 40]
    assert sum(one["worker_call_seconds_count"] for one in told) == 40
    assert (told[0]["server_up"], told[0]["workers"], told[0]["permits_most"]) == (1, 2, 5)
    assert told[0]["refusals_total"] > 0
    assert told[0]["tokens_total"] > 0
