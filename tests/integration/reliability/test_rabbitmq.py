"""RabbitMQ as broker: it knows by itself which workers live, and delivers again what it lost sight of.

`CF_WORKERS_TEST_BROKER=amqp://…`, see tests/support/brokers.py. All tests of whole runs work with it too.
"""

from __future__ import annotations

import signal

import pytest

from tests.support import brokers, eventually
from tests.support.commands import Commands
from tests.support.stack import QUICK_TO_BURY, step

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400), brokers.rabbitmq_only]

PATIENCE = 90
WIDTH = 8


@pytest.fixture
def wide(project):
    ids = [f"s{number}" for number in range(WIDTH)]
    return project.workflow("wide", *(step(id) for id in ids), step("end", *ids))


def eventually_in_flight(stack, number=WIDTH):
    eventually(lambda: stack.simulator.stats().in_flight == number, "calls in flight", timeout=PATIENCE)


def test_a_broken_connection_asks_nothing_twice_and_ends_no_worker(own_stack, wide):
    """All messages come again at once, find that their steps are being worked on, and are passed over."""
    own_stack.simulator.configure(hold=True)
    workers = [own_stack.worker("-n", f"w{number}@test", cwd=wide.root) for number in range(2)]
    run = own_stack.client(wide).start_workflow("wide")
    eventually_in_flight(own_stack)

    def all_connected_again():
        missing = [worker for worker in workers if worker.output().count("Connected to") < 2]
        if missing:  # the management plugin lists connections with a delay
            brokers.cut_connections(own_stack.broker_url)
        return not missing

    eventually(all_connected_again, "new connections", timeout=PATIENCE, every=1)
    own_stack.simulator.configure(hold=False)

    assert run.result(timeout=PATIENCE).status == "succeeded"
    assert len(own_stack.calls()) == WIDTH + 1
    assert all(worker.running for worker in workers)
    eventually(lambda: own_stack.messages_left() == 0, "every message to be acknowledged", timeout=PATIENCE)


def test_the_steps_of_a_killed_worker_are_finished_by_another(own_stack, wide):
    own_stack.settings |= QUICK_TO_BURY
    own_stack.simulator.configure(hold=True)
    victim = own_stack.worker("-n", "victim@test", cwd=wide.root)
    run = own_stack.client(wide).start_workflow("wide")
    eventually_in_flight(own_stack)
    own_stack.worker("-n", "heir@test", cwd=wide.root)

    victim.kill()
    own_stack.simulator.configure(hold=False)

    result = run.result(timeout=PATIENCE)
    assert result.status == "succeeded"
    assert result.document["lost_calls"] == WIDTH
    assert len(own_stack.calls()) == 2 * WIDTH + 1
    eventually(lambda: own_stack.messages_left() == 0, "every message to be acknowledged", timeout=PATIENCE)


def test_draining_finishes_what_runs_and_a_second_signal_gives_it_back(own_stack, wide):
    own_stack.settings |= QUICK_TO_BURY
    own_stack.simulator.configure(hold=True)
    drained = own_stack.worker("-n", "drained@test", cwd=wide.root)
    run = own_stack.client(wide).start_workflow("wide")
    eventually_in_flight(own_stack)

    drained.signal(signal.SIGTERM)
    drained.wait_for("Warm shutdown", timeout=PATIENCE)
    own_stack.simulator.configure(hold=False)
    assert drained.wait(timeout=PATIENCE) == 0
    assert len(own_stack.calls()) == WIDTH, "the join is left to another"

    own_stack.simulator.configure(hold=True)
    hurried = own_stack.worker("-n", "hurried@test", cwd=wide.root)
    eventually_in_flight(own_stack, 1)
    for _ in range(2):
        hurried.signal(signal.SIGTERM)
        hurried.wait_for("Warm shutdown", timeout=PATIENCE)
    hurried.wait(timeout=PATIENCE)
    own_stack.simulator.configure(hold=False)
    own_stack.worker("-n", "last@test", cwd=wide.root)

    assert run.result(timeout=PATIENCE).status == "succeeded"
    assert len(own_stack.calls()) == WIDTH + 2


@pytest.mark.parametrize(
    "change",
    [lambda url: f"{url}-that-is-none", lambda url: url.replace("guest:guest@", "guest:mistyped@")],
    ids=["a virtual host that is none", "a wrong password"],
)
def test_a_broker_that_lets_nobody_in_is_named_with_what_to_correct(own_stack, project, tmp_path, change):
    project.workflow("one", step("a"))
    url = change(own_stack.broker_url)
    cf = Commands(tmp_path, project.root, own_stack.environ | {brokers.SETTING: url})

    ready = cf("health", timeout=120)
    started = cf("run-workflow", "one", "--detach", timeout=120)

    assert (ready.code, started.code) == (3, 3), started.err
    assert "does not accept the user, password or virtual host" in started.err
    assert "CF_WORKERS_BROKER_URL" in started.err
    assert "mistyped" not in ready.out + ready.err + started.out + started.err
