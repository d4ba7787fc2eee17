"""Messages get lost or come twice, producers die: a run ends all the same, and nothing is asked twice."""

import json

import pytest
from kombu import Connection

from cf_workers.wire import EXECUTE_STEP, FINISH_RUN
from tests.support import eventually
from tests.support.stack import step

pytestmark = pytest.mark.integration

HEALED = 60.0
"""Seconds; it takes two or three."""


def publish_again(client, run, name, attempt=1):
    """Send a step's message once more, as a broker would that delivers twice."""
    client._app.send_task(
        EXECUTE_STEP, args=(run.id, name, attempt), task_id=f"{run.id}:{name}", queue="interactive"
    )


def publish_end_again(client, run):
    client._app.send_task(FINISH_RUN, args=(run.id, 1), task_id=run.id, queue="control")


def test_a_step_delivered_twice_while_it_runs_is_asked_once(stack, project):
    stack.simulator.configure(latency=1)
    client = stack.client(project.workflow("short", step("a"), step("b", "a")))
    run = client.start_workflow("short")
    stack.eventually_called("do a")

    publish_again(client, run, "a")
    publish_again(client, run, "b")
    result = run.result(timeout=60)

    assert result.status == "succeeded"
    assert stack.calls_by_task("do a", "do b") == {"do a": 1, "do b": 1}
    assert [event.type for event in run.events()].count("step.succeeded") == 2


def test_messages_delivered_again_after_the_end_change_nothing_and_leave_nothing(stack, project):
    client = stack.client(project.workflow("short", step("a"), step("b"), step("join", "a", "b")))
    run = client.start_workflow("short")
    before = run.result(timeout=60)
    eventually(lambda: stack.messages_left() == 0, "the run's messages to be gone")

    publish_end_again(client, run)
    publish_again(client, run, "join")
    eventually(lambda: stack.messages_left() == 0, "the end to have come again")
    publish_again(client, run, "a")
    eventually(lambda: stack.messages_left() == 0, "the repeated messages to be gone")

    assert run.result().document == before.document
    assert len(stack.calls()) == 3
    with stack.redis() as connection:
        assert list(connection.scan_iter(f"celery-taskset-meta-*{run.id}*")) == []


def test_an_execution_delivered_twice_is_asked_once(stack, project):
    stack.simulator.configure(latency=1)
    client = stack.client(project)
    handle = client.submit("writer", "Say hello")
    stack.eventually_called("Say hello")

    client._launcher.send(client._store.header(handle.id, 1), "writer")
    output = handle.result(timeout=60).output
    client._launcher.send(client._store.header(handle.id, 1), "writer")
    eventually(lambda: stack.messages_left() == 0, "the repeated messages to be gone")

    assert len(stack.calls()) == 1
    assert handle.result(timeout=60).output == output


def test_a_message_of_an_earlier_attempt_is_passed_over(stack, project):
    stack.simulator.set_faults("400")
    client = stack.client(project.workflow("short", step("a")))
    run = client.start_workflow("short")
    run.result(timeout=60)
    stack.simulator.configure(latency=1)
    run.retry()
    stack.eventually_called("do a", times=2)

    publish_again(client, run, "a", attempt=1)
    publish_end_again(client, run)

    assert run.result(timeout=60).status == "succeeded"
    assert len(stack.calls()) == 2


PRODUCER = """
import os, sys
from celery.canvas import Signature
from cf_workers import Client
from cf_workers.workflows.compiler import FlatGroup

def die(*_, **__):
    os._exit(9)

FlatGroup.apply_async = Signature.apply_async = die
client = Client()
print(client.context.redis_url and "begun", flush=True)
if sys.argv[1] == "workflow":
    client.start_workflow("short", idempotency_key=sys.argv[1])
else:
    client.submit("writer", "Say hello", idempotency_key=sys.argv[1])
"""


@pytest.mark.parametrize("kind", ["workflow", "execution"])
def test_what_a_producer_wrote_down_before_it_died_is_started_by_the_workers(stack, project, kind):
    project.workflow("short", step("a"), step("b"), step("join", "a", "b"))
    producer = stack.script(PRODUCER, kind, cwd=project.root)
    assert producer.wait(timeout=60) == 9
    (newest,) = stack.client(project).history.newest(limit=1)
    assert newest["status"] == "pending"

    stack.client(project).run(newest["run_id"]).wait(HEALED)

    assert stack.client(project).run(newest["run_id"]).status() == "succeeded"
    assert len(stack.calls()) == (3 if kind == "workflow" else 1)


def test_a_message_that_the_broker_lost_is_sent_again(own_stack, project):
    client = own_stack.client(project.workflow("short", step("a"), step("b"), step("join", "a", "b")))
    run = client.start_workflow("short")
    with Connection(own_stack.broker_url) as connection:
        assert connection.default_channel.queue_purge("interactive") == 2

    own_stack.worker(cwd=project.root)
    result = run.result(timeout=HEALED)

    assert result.status == "succeeded"
    assert len(own_stack.calls()) == 3


FORGETFUL_WORKER = """
import sys
from celery.__main__ import main
from cf_workers.workflows.launcher import Launcher

Launcher.release = lambda *_: None
sys.argv = ["celery", "-A", "cf_workers", "worker", "-l", "INFO"]
main()
"""


def test_what_a_worker_committed_and_did_not_release_is_released(own_stack, project):
    """As if a worker died between commit and release, after each step."""
    client = own_stack.client(project.workflow("short", step("a"), step("b", "a"), step("c", "a")))
    run = client.start_workflow("short")
    forgetful = own_stack.script(FORGETFUL_WORKER, cwd=project.root)
    forgetful.wait_for("step.lost")

    result = run.result(timeout=60)

    assert result.status == "succeeded"
    assert len(own_stack.calls()) == 3


def test_what_waits_behind_a_full_queue_does_not_count_as_lost(own_stack, project):
    own_stack.simulator.configure(latency=0.5)
    own_stack.settings["CF_WORKERS_WORKER__CONCURRENCY"] = "2"
    project.workflow("wide", *(step(f"s{n}") for n in range(14)))
    client = own_stack.client(project)
    run = client.start_workflow("wide")
    worker = own_stack.worker(cwd=project.root)

    assert run.result(timeout=60).status == "succeeded"

    assert len(own_stack.calls()) == 14
    taken_in_but_not_begun = 2
    assert worker.output().count("step.lost") <= taken_in_but_not_begun


def test_a_worker_that_knows_no_such_run_passes_over_its_messages(stack, project):
    client = stack.client(project)

    client._app.send_task(EXECUTE_STEP, args=("nobody", "a", 1), task_id="nobody:a", queue="interactive")
    client._app.send_task(FINISH_RUN, args=("nobody", 1), task_id="nobody", queue="control")

    eventually(lambda: stack.messages_left() == 0, "the messages to be gone")
    with stack.redis() as connection:
        stored = connection.get("celery-task-meta-nobody")
    assert stored is None or json.loads(stored)["status"] != "SUCCESS"
