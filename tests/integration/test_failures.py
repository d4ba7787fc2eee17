"""What becomes of a run when steps fail for good, and of the steps around them?"""

import threading

import pytest
from celery import Celery

from cf_workers.errors import RefusedError
from cf_workers.simulator import ScriptedFault
from tests.support import eventually
from tests.support.stack import step

pytestmark = pytest.mark.integration


def statuses(result):
    return {name: one.status for name, one in result.results.items()}


class Receiver:
    """Hears Celery's events as Flower does, on a thread."""

    def __init__(self, url):
        self.events = []
        self._app = Celery("listener", broker=url, set_as_current=False)
        self._connection = self._app.connection()
        self._receiver = self._app.events.Receiver(self._connection, handlers={"*": self.events.append})
        self._thread = threading.Thread(target=self._receiver.capture, kwargs={"wakeup": False}, daemon=True)

    def __enter__(self):
        self._thread.start()
        with self._app.connection() as connection, self._app.events.Dispatcher(connection) as dispatcher:
            eventually(lambda: dispatcher.send("anybody-there") or self.events, "the receiver to hear")
        return self

    def __exit__(self, *_):
        self._receiver.should_stop = True
        self._thread.join(10)
        self._connection.release()
        self._app.close()

    def of(self, task_id):
        return [event for event in self.events if event.get("uuid") == task_id]

    def types(self, task_id):
        return [event["type"] for event in self.of(task_id)]


@pytest.fixture
def receiver(stack):
    with Receiver(stack.broker_url) as listening:
        yield listening


@pytest.fixture
def three_in_parallel(project):
    return project.workflow(
        "three",
        step("a"),
        step("b"),
        step("c"),
        step("after-a", "a"),
        step("after-b", "b"),
        step("join", "a", "b", "c"),
        step("end", "join"),
    )


def test_a_failed_step_costs_one_request_and_takes_only_its_dependents_with_it(
    stack, three_in_parallel, receiver
):
    stack.simulator.set_faults(ScriptedFault("400", times=None, contains="do b"))
    run = stack.client(three_in_parallel).start_workflow("three")

    result = run.result(timeout=60)

    assert result.status == "failed"
    assert statuses(result) == {
        "a": "succeeded",
        "b": "failed",
        "c": "succeeded",
        "after-a": "succeeded",
        "after-b": "skipped",
        "join": "skipped",
        "end": "skipped",
    }
    assert result.results["a"].output
    assert result.results["b"].error["type"] == "CallRejectedError"
    assert result.results["b"].attempts == 1
    assert stack.calls_by_task("do a", "do b", "do c", "do after-a") == {
        "do a": 1,
        "do b": 1,
        "do c": 1,
        "do after-a": 1,
    }
    assert len(stack.calls()) == 4
    eventually(lambda: receiver.types(f"{run.id}:b")[-1:] == ["task-failed"], "the task-failed event")
    eventually(
        lambda: receiver.types(f"{run.id}:a")[-1:] == ["task-succeeded"], "the task-succeeded event of a"
    )
    failed = receiver.of(f"{run.id}:b")[-1]
    assert "CallRejectedError" in failed["exception"]
    assert "do b" not in str(receiver.events), "events never show a prompt"


def test_a_join_of_all_that_is_done_runs_after_a_failure_with_what_there_is(stack, project):
    stack.simulator.set_faults(ScriptedFault("400", contains="do b"))
    project.workflow("all", step("a"), step("b"), step("report", "a", "b", rule="all_done"))

    result = stack.client(project).start_workflow("all").result(timeout=60)

    assert statuses(result) == {"a": "succeeded", "b": "failed", "report": "succeeded"}
    assert result.status == "failed"
    (report,) = stack.calls("do report")
    assert 'output of step \\"a\\"' in report.body
    assert 'output of step \\"b\\"' not in report.body


def test_a_failure_that_is_allowed_does_not_fail_the_run(stack, project):
    stack.simulator.set_faults(ScriptedFault("400", contains="do b"))
    project.workflow(
        "allowed", step("a"), step("b", allow_failure=True), step("report", "a", "b", rule="all_done")
    )

    result = stack.client(project).start_workflow("allowed").result(timeout=60)

    assert statuses(result) == {"a": "succeeded", "b": "failed", "report": "succeeded"}
    assert result.status == "succeeded"


def test_a_list_stops_at_its_first_failure(stack, project):
    stack.simulator.set_faults(ScriptedFault("400", agent="reviewer"))
    project.workflow("list", "writer", "reviewer", "tester")

    result = stack.client(project).start_workflow("list", "Say hello").result(timeout=60)

    assert statuses(result) == {"1-writer": "succeeded", "2-reviewer": "failed", "3-tester": "skipped"}
    assert len(stack.calls()) == 2


def test_an_execution_raises_the_error_that_it_ended_with(stack, project):
    stack.simulator.set_faults("refusal")
    handle = stack.client(project).submit("writer", "Say something terrible")

    with pytest.raises(RefusedError) as caught:
        handle.result(timeout=60)

    assert "terrible" not in str(caught.value)
    assert len(stack.calls()) == 1


def test_a_run_retried_calls_only_what_did_not_succeed(stack, three_in_parallel):
    stack.simulator.set_faults(ScriptedFault("400", times=2, contains="do b"))
    run = stack.client(three_in_parallel).start_workflow("three")
    run.result(timeout=60)
    run.retry()
    assert run.result(timeout=60).status == "failed"
    before = len(stack.calls())

    run.retry()
    result = run.result(timeout=60)

    assert set(statuses(result).values()) == {"succeeded"}
    assert (before, len(stack.calls())) == (5, 5 + 4)
    assert stack.calls_by_task("do a", "do b", "do c", "do after-a", "do after-b", "do join", "do end") == {
        "do a": 1,
        "do b": 3,
        "do c": 1,
        "do after-a": 1,
        "do after-b": 1,
        "do join": 1,
        "do end": 1,
    }
    (join,) = stack.calls("do join")
    assert [f'step \\"{name}\\"' in join.body for name in "abc"] == [True, True, True]


def test_a_step_that_feeds_two_joins_counts_once_in_each(stack, project):
    project.workflow(
        "two",
        step("a"),
        step("b"),
        step("c"),
        step("left", "a", "b"),
        step("right", "b", "c"),
        step("end", "left", "right"),
    )

    result = stack.client(project).start_workflow("two").result(timeout=60)

    assert result.status == "succeeded"
    assert len(stack.calls()) == 6
    order = result.execution_order
    assert order.index("left") > max(order.index("a"), order.index("b"))
    assert order.index("right") > max(order.index("b"), order.index("c"))


def test_a_retry_of_attempts_is_shown_with_its_reason_and_counted(stack, project, receiver):
    stack.simulator.set_faults(ScriptedFault("529", times=2))
    run = stack.client(project.workflow("one", step("a"))).start_workflow("one")

    result = run.result(timeout=60)

    assert result.status == "succeeded"
    assert result.results["a"].attempts == 3
    assert len(stack.calls()) == 3
    eventually(lambda: "task-succeeded" in receiver.types(f"{run.id}:a"), "the task-succeeded event")
    retried = [event for event in receiver.of(f"{run.id}:a") if event["type"] == "task-retried"]
    assert len(retried) == 2
    assert all("529" in event["exception"] or "overloaded" in event["exception"].lower() for event in retried)


def test_the_wait_that_the_provider_asks_for_is_kept(stack, project):
    project.workflow("one", step("a", task="wait [[sim fail=429 retry_after=1.2 times=1]]"))

    result = stack.client(project).start_workflow("one").result(timeout=60)

    assert result.results["a"].attempts == 2
    first, second = stack.calls()
    assert 1.2 <= second.received_at - first.received_at < 30


@pytest.mark.parametrize(("max_retries", "requests"), [(0, 1), (2, 3)])
def test_a_step_fails_after_exactly_its_retries(stack, project, max_retries, requests):
    stack.simulator.set_faults(ScriptedFault("529", times=None))
    project.workflow("one", step("a", max_retries=max_retries))

    result = stack.client(project).start_workflow("one").result(timeout=60)

    assert result.status == "failed"
    assert result.results["a"].error["type"] == "OverloadedError"
    assert result.results["a"].attempts == requests == len(stack.calls())


def test_an_execution_fails_after_exactly_its_retries(stack, project):
    stack.simulator.set_faults(ScriptedFault("529", times=None))
    handle = stack.client(project).submit("writer", "Say hello", max_retries=1)

    handle.wait(20)

    assert handle.status() == "failed"
    assert len(stack.calls()) == 2
