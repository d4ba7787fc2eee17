"""What a worker counts of its own calls."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from cf_workers._redis import Keys
from cf_workers.agents.definition import AgentCall, AgentDefinition, AgentReply, Usage
from cf_workers.answers import Answer
from cf_workers.errors import OverloadedError
from cf_workers.metrics import CallMeter, WorkerCollector
from cf_workers.resilience import Guard
from cf_workers.tasks.answering import Caller
from cf_workers.tasks.metered import Metered
from cf_workers.workflows.liveness import Heartbeat
from tests.support.engine import fake_client

MODEL = "claude-haiku-4-5"


class Provider:
    """Answers, or fails as told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def ask(self, call, caller, token):
        if self.error:
            raise self.error
        usage = Usage(input_tokens=1000, output_tokens=100, cache_read_input_tokens=50)
        return Answer(AgentReply("fine", MODEL, usage, "end_turn", request_id="r"), 0.1)


def asked(provider: Provider, registry: CollectorRegistry) -> None:
    definition = AgentDefinition(name="a", text="Be.")
    call = AgentCall(agent=definition, model=MODEL, max_tokens=9, task="x", timeout_seconds=9)
    Metered(provider, CallMeter(registry)).ask(call, Caller("w", "h"), None)


def test_an_answered_call_counts_its_tokens_and_its_price() -> None:
    registry = CollectorRegistry()

    asked(Provider(), registry)

    def value(name, **labels):
        return registry.get_sample_value(f"cf_workers_worker_{name}", {"model": MODEL, **labels})

    assert value("call_seconds_count", outcome="answered") == 1
    assert value("tokens_total", kind="input") == 1000
    assert value("tokens_total", kind="cache_read") == 50
    assert value("cost_usd_total") == pytest.approx(0.001505)


def test_a_failed_call_counts_under_its_error_and_goes_on_failing() -> None:
    registry = CollectorRegistry()

    with pytest.raises(OverloadedError):
        asked(Provider(OverloadedError("busy")), registry)

    labels = {"model": MODEL, "outcome": "OverloadedError"}
    assert registry.get_sample_value("cf_workers_worker_call_seconds_count", labels) == 1


def test_very_many_models_share_one_label() -> None:
    registry = CollectorRegistry()
    meter = CallMeter(registry)

    for number in range(80):
        meter.ended(f"m{number}", "answered", 1.0)

    labels = {"model": "other", "outcome": "answered"}
    assert registry.get_sample_value("cf_workers_worker_call_seconds_count", labels) == 30


def test_a_worker_tells_of_itself_without_its_server() -> None:
    registry = CollectorRegistry()
    client = fake_client()
    heartbeat = Heartbeat(client, Keys(), worker="w", about=dict)
    registry.register(WorkerCollector(Guard(client, Keys()), heartbeat))

    assert registry.get_sample_value("cf_workers_worker_running_steps") == 0
    assert registry.get_sample_value("cf_workers_worker_guard_blind_calls_total") == 0
