"""How do runs end that do not end by themselves: cancelled, timed out, revoked?"""

import json
import time

import pytest

from tests.support import eventually
from tests.support.stack import step

pytestmark = pytest.mark.integration


def statuses(result):
    return {name: one.status for name, one in result.results.items()}


def cut_after(stack, text):
    """Seconds for which the provider was kept waiting before each such call was cut."""
    eventually(lambda: all(call.finished_at for call in stack.calls(text)), f"calls with {text!r} to end")
    calls = stack.calls(text)
    assert all(call.disconnected for call in calls)
    return [call.finished_at - call.received_at for call in calls]


def test_calls_in_flight_are_cut_when_their_run_is_cancelled_and_nothing_more_is_asked(stack, project):
    stack.simulator.configure(latency=60)
    project.workflow("slow", step("a"), step("b"), step("c", "a"), step("join", "a", "b", rule="all_done"))
    run = stack.client(project).start_workflow("slow")
    stack.eventually_called("do ", times=2)

    cancelled_at = time.time()
    run.cancel()
    result = run.result(timeout=60)

    cut_after(stack, "do ")
    assert max(call.finished_at for call in stack.calls()) - cancelled_at < 30
    assert result.status == "cancelled"
    assert statuses(result) == dict.fromkeys(("a", "b", "c", "join"), "cancelled")
    assert result.document["lost_calls"] == 2
    eventually(lambda: stack.messages_left() == 0, "no message to be left")
    assert len(stack.calls()) == 2


def test_a_step_that_waits_for_its_next_attempt_is_cancelled_with_its_run(stack, project):
    project.workflow("one", step("a", task="wait [[sim fail=429 retry_after=3]]"), step("b", "a"))
    run = stack.client(project).start_workflow("one")
    eventually(lambda: "step.retrying" in [e.type for e in run._history.events(run.id)], "a retry")

    run.cancel()
    result = run.result(timeout=60)

    assert result.status == "cancelled"
    assert statuses(result) == {"a": "cancelled", "b": "cancelled"}


def test_a_run_that_waits_for_a_worker_can_be_cancelled(own_stack, project):
    run = own_stack.client(project.workflow("one", step("a"))).start_workflow("one")

    run.cancel()

    assert run.result(timeout=60).status == "cancelled"
    own_stack.worker(cwd=project.root)
    eventually(lambda: own_stack.messages_left() == 0, "the worker to pass over it")
    assert own_stack.calls() == []
    assert run.status() == "cancelled"


def test_a_run_that_takes_too_long_fails_and_its_calls_are_cut(stack, project):
    stack.simulator.configure(latency=60)
    project.workflow("slow", step("a"), step("b", "a"), timeout_seconds=1)
    run = stack.client(project).start_workflow("slow")

    result = run.result(timeout=60)

    assert result.status == "failed"
    assert statuses(result) == {"a": "cancelled", "b": "cancelled"}
    assert result.document["stopping"] == "timeout"
    assert cut_after(stack, "do a")[0] < 30
    assert len(stack.calls()) == 1


def test_an_attempt_that_takes_too_long_is_cut_and_made_again(stack, project):
    project.workflow(
        "slow",
        step("a", task="do a [[sim latency=30]]", timeout_seconds=0.5, max_retries=1),
        step("b", task="do b"),
    )
    run = stack.client(project).start_workflow("slow")

    result = run.result(timeout=60)

    assert result.status == "failed"
    assert statuses(result) == {"a": "failed", "b": "succeeded"}
    assert result.results["a"].error["type"] == "CallTimeoutError"
    assert result.results["a"].attempts == 2
    assert [0.4 < seconds < 15 for seconds in cut_after(stack, "do a")] == [True, True]
    assert result.document["lost_calls"] == 2, "they may have been billed"


def test_a_revoked_step_fails_its_run(stack, project):
    stack.simulator.configure(latency=60)
    project.workflow("slow", step("a"), step("b", "a"))
    run = stack.client(project).start_workflow("slow")
    stack.eventually_called("do a")

    child = stack.celery("control", "terminate", "SIGTERM", f"{run.id}:a", until=None)
    assert child.wait(timeout=60) == 0
    result = run.result(timeout=60)

    assert statuses(result) == {"a": "cancelled", "b": "skipped"}
    assert result.status == "failed"
    assert cut_after(stack, "do a")[0] < 30


def test_what_is_revoked_before_anybody_executes_it_ends_as_well(own_stack, project):
    own_stack.settings["CF_WORKERS_WORKER__CONCURRENCY"] = "1"
    project.workflow("one", step("first", task="do first [[sim latency=15]]"))
    project.workflow("two", step("a"), step("b", "a"), step("c", "a", rule="all_done"))
    client = own_stack.client(project)
    busy = client.start_workflow("one")
    own_stack.worker(cwd=project.root)
    own_stack.eventually_called("do first")
    run, handle = client.start_workflow("two"), client.submit("writer", "Say hello")

    control = own_stack.celery("control", "revoke", f"{run.id}:a", handle.id, until=None)
    assert control.wait(timeout=60) == 0
    result = run.result(timeout=60)
    handle.wait(60)

    assert busy.status() == "succeeded"
    assert statuses(result) == {"a": "cancelled", "b": "skipped", "c": "succeeded"}
    assert result.status == "failed"
    assert handle.status() == "cancelled"
    assert own_stack.calls("do a") == own_stack.calls("Say hello") == []


def test_a_revoked_execution_is_cancelled(stack, project):
    stack.simulator.configure(latency=60)
    handle = stack.client(project).submit("writer", "Say hello")
    stack.eventually_called("Say hello")

    child = stack.celery("control", "terminate", "SIGTERM", handle.id, until=None)
    assert child.wait(timeout=60) == 0
    handle.wait(60)

    assert handle.status() == "cancelled"
    with stack.redis() as client:
        assert json.loads(client.get(f"celery-task-meta-{handle.id}"))["status"] == "REVOKED"
