"""Fifty calls are in flight when it happens, with the settings as shipped but for the shortest waits."""

import time
from collections import Counter

import pytest

from tests.support import eventually
from tests.support.stack import step

pytestmark = pytest.mark.chaos

WIDTH = 50


@pytest.fixture
def wide(project):
    ids = [f"s{n}" for n in range(WIDTH)]
    return project.workflow("wide", *(step(id, task=f"do {id} .") for id in ids), step("end", *ids))


def ends(run):
    return Counter(event.step for event in run.events() if event.type == "step.succeeded")


def test_fifty_calls_of_a_killed_worker_are_finished_by_another_within_thirty_seconds(durable, wide):
    stack, _ = durable
    stack.simulator.configure(latency=60)
    run = stack.client(wide).start_workflow("wide")
    victim = stack.worker("-n", "victim@test", cwd=wide.root)
    eventually(lambda: len(stack.calls()) == WIDTH, "fifty calls in flight", timeout=20)
    stack.worker("-n", "heir@test", cwd=wide.root)
    stack.simulator.configure(latency=0.5)

    killed_at = time.monotonic()
    victim.kill()
    result = run.result(timeout=30)

    assert time.monotonic() - killed_at < 30
    assert result.status == "succeeded"
    assert set(ends(run).values()) == {1}
    assert len(ends(run)) == WIDTH + 1
    assert len(stack.calls()) == WIDTH + WIDTH + 1
    assert result.document["lost_calls"] == WIDTH


def test_a_server_that_is_killed_and_back_after_five_seconds_costs_nothing_and_doubles_nothing(durable, wide):
    """Calls end while it is away: their answers are kept, and written down when it is back."""
    stack, server = durable
    stack.simulator.configure(latency=4)
    run = stack.client(wide).start_workflow("wide")
    workers = [stack.worker("-n", f"w{n}@test", cwd=wide.root) for n in range(2)]
    eventually(lambda: len(stack.calls()) == WIDTH, "fifty calls in flight", timeout=20)

    server.kill()
    away_since = time.monotonic()
    eventually(lambda: stack.simulator.stats().in_flight == 0, "all calls to be answered")
    eventually(lambda: time.monotonic() - away_since >= 5, "five seconds to pass")
    stack.simulator.configure(latency=0)
    server.start()
    result = run.result(timeout=30)

    assert all(worker.running for worker in workers)
    assert result.status == "succeeded"
    assert set(ends(run).values()) == {1}
    assert len(stack.calls()) == WIDTH + 1
    assert result.document["lost_calls"] == 0
    eventually(lambda: stack.messages_left() == 0, "every message to be acknowledged", timeout=20)
