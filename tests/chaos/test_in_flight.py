"""Fifty calls are in flight when it happens, with the settings as shipped but for the shortest waits.

The provider holds their answers until the test lets them go, so they are in flight on a slow machine too.
"""

import time
from collections import Counter

import pytest

from tests.support import eventually
from tests.support.stack import step

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

WIDTH = 50
AWAY_SECONDS = 5
PATIENCE = 90


@pytest.fixture
def wide(project):
    ids = [f"s{n}" for n in range(WIDTH)]
    return project.workflow("wide", *(step(id, task=f"do {id} .") for id in ids), step("end", *ids))


def ends(run):
    return Counter(event.step for event in run.events() if event.type == "step.succeeded")


def eventually_in_flight(stack):
    eventually(lambda: stack.simulator.stats().in_flight == WIDTH, "fifty calls in flight", timeout=PATIENCE)


@pytest.mark.parametrize("seconds", [PATIENCE, pytest.param(30, marks=pytest.mark.slow)])
def test_fifty_calls_of_a_killed_worker_are_finished_by_another(durable, wide, seconds):
    """Within thirty seconds on a machine that is not busy otherwise."""
    stack, _ = durable
    stack.simulator.configure(hold=True)
    run = stack.client(wide).start_workflow("wide")
    victim = stack.worker("-n", "victim@test", cwd=wide.root)
    eventually_in_flight(stack)
    stack.worker("-n", "heir@test", cwd=wide.root)

    victim.kill()
    stack.simulator.configure(hold=False, latency=0.5)
    result = run.result(timeout=seconds)

    assert result.status == "succeeded"
    assert set(ends(run).values()) == {1}
    assert len(ends(run)) == WIDTH + 1
    assert len(stack.calls()) == WIDTH + WIDTH + 1
    assert result.document["lost_calls"] == WIDTH


def test_a_server_that_is_killed_and_back_after_five_seconds_costs_nothing_and_doubles_nothing(durable, wide):
    """Calls end while it is away: their answers are kept, and written down when it is back."""
    stack, server = durable
    stack.simulator.configure(hold=True)
    run = stack.client(wide).start_workflow("wide")
    workers = [stack.worker("-n", f"w{n}@test", cwd=wide.root) for n in range(2)]
    eventually_in_flight(stack)

    server.kill()
    away_since = time.monotonic()
    stack.simulator.configure(hold=False)
    eventually(lambda: stack.simulator.stats().in_flight == 0, "all calls to be answered", timeout=PATIENCE)
    eventually(lambda: time.monotonic() - away_since >= AWAY_SECONDS, "the outage to last", timeout=PATIENCE)
    server.start()
    result = run.result(timeout=PATIENCE)

    assert all(worker.running for worker in workers)
    assert result.status == "succeeded"
    assert set(ends(run).values()) == {1}
    assert len(stack.calls()) == WIDTH + 1
    assert result.document["lost_calls"] == 0
    eventually(lambda: stack.messages_left() == 0, "every message to be acknowledged", timeout=PATIENCE)
