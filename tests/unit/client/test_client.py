"""A program enqueues, follows, cancels and retries; what cannot work is refused before it costs anything."""

import json

import pytest

from cf_workers.errors import (
    ConfigError,
    InputError,
    ProjectError,
    TaskTooLongError,
    UnknownAgentError,
    UnknownRunError,
    UnknownWorkflowError,
)
from cf_workers.planning import WorkflowOptions
from cf_workers.wire import FINISH_RUN, RUN_AGENT
from cf_workers.workflows.outcome import Outcome
from tests.support.engine import FAILED, Engine
from tests.support.offline import offline_client
from tests.support.projects import write_project

WORKFLOWS = {
    "list": ["greeter", "writer"],
    "dag": {
        "timeout_seconds": 60,
        "inputs": {"path": "src/"},
        "steps": [
            {"id": "one", "agent": "greeter", "task": "Read {{ inputs.path }}."},
            {"id": "two", "agent": "writer", "task": "Write.", "dependencies": ["one"]},
        ],
    },
}


@pytest.fixture
def engine():
    made = Engine()
    yield made
    made.close()


@pytest.fixture
def make_client(engine, tmp_path):
    """A client of a project, on the engine without a server."""

    def make(**document):
        file = write_project(tmp_path, "greeter", "writer", **{"workflows": WORKFLOWS, **document})
        return offline_client(engine, file)

    return make


@pytest.fixture
def client(make_client):
    return make_client()


def nothing_was_enqueued(engine):
    return engine.published() == [] and list(engine.client.scan_iter("cfw:*")) == []


# one execution


def test_a_submitted_execution_is_recorded_and_its_message_names_the_agent_alone(client, engine):
    handle = client.submit("greeter", "a secret task", max_tokens=7, timeout_seconds=5)

    (message,) = engine.published()
    assert (message.task, message.id, message.queue) == (RUN_AGENT, handle.id, "interactive")
    assert message.args == ("greeter",)
    assert "secret" not in str(message.headers)
    header = engine.store.header(handle.id, 1)
    assert header.task == "a secret task"
    assert (header.plan.steps[0].max_tokens, header.plan.steps[0].timeout_seconds) == (7, 5)
    assert handle.status() == "pending"


def test_a_second_submission_with_the_same_key_is_the_first_one(client, engine):
    first = client.submit("greeter", "hi", idempotency_key="k")
    second = client.submit("greeter", "hi", idempotency_key="k")

    assert second.id == first.id
    assert len(engine.published()) == 1


@pytest.mark.parametrize(
    ("args", "options", "error"),
    [
        (("nobody", "hi"), {}, UnknownAgentError),
        (("greeter", "x" * 100_001), {}, TaskTooLongError),
        (("greeter", "hi"), {"max_tokens": 0}, InputError),
        (("greeter", "hi"), {"timeout_seconds": -1}, InputError),
        (("greeter", "hi"), {"max_retries": "many"}, InputError),
        (("greeter", "hi"), {"model": "claude-2.1"}, ConfigError),
    ],
)
def test_input_that_cannot_work_costs_nothing(client, engine, args, options, error):
    with pytest.raises(error) as caught:
        client.submit(*args, **options)

    assert caught.value.exit_code == 2
    assert nothing_was_enqueued(engine)


def test_of_many_an_invalid_one_does_not_disturb_the_others(client, engine):
    class Done(type(client)):
        def submit(self, agent, task, **options):
            handle = super().submit(agent, task, **options)
            header = engine.store.header(handle.id, 1)
            engine.finish_step(header, agent, FAILED if task == "fail" else _said(task))
            engine.store.finish(handle.id, 1)
            return handle

    client.__class__ = Done

    outcomes = client.execute_many(
        [("greeter", "one"), ("nobody", "two"), ("writer", "fail"), ("writer", "three")], timeout=5
    )

    assert [outcome.ok for outcome in outcomes] == [True, False, False, True]
    assert [outcomes[n].unwrap().output for n in (0, 3)] == ["one", "three"]
    assert [type(outcomes[n].error).__name__ for n in (1, 2)] == ["UnknownAgentError", "CallRejectedError"]


def test_an_execution_of_the_batch_lane_lets_others_pass(client, engine):
    client.submit("greeter", "Say hello.", lane="batch")

    (message,) = engine.published()
    assert message.queue == "batch"


# workflows


def test_a_workflow_of_the_project_is_started_by_its_name(client, engine):
    run = client.start_workflow("dag", inputs={"path": "docs/"})

    assert [message.step for message in engine.published()] == ["one"]
    header = engine.store.header(run.id, 1)
    assert (header.inputs, header.plan.workflow) == ({"path": "docs/"}, "dag")
    deadline = engine.client.zscore(engine.keys.active, run.id)
    assert deadline == pytest.approx(engine.client.time()[0] + 60, abs=3)


def test_the_callers_time_out_beats_the_workflows(client, engine):
    run = client.start_workflow("dag", timeout_seconds=600)

    deadline = engine.client.zscore(engine.keys.active, run.id)
    assert deadline == pytest.approx(engine.client.time()[0] + 600, abs=3)


def test_a_workflow_comes_from_a_mapping_or_a_file_as_well(client, tmp_path):
    file = tmp_path / "nightly.json"
    file.write_text(json.dumps(WORKFLOWS["dag"]))

    assert client.workflow(WORKFLOWS["dag"]).name == "workflow"
    assert client.workflow({**WORKFLOWS["dag"], "name": "own"}).steps == client.workflow("dag").steps
    assert client.workflow(file).name == client.workflow(str(file)).name == "nightly"


def test_a_list_workflow_needs_a_task(client, engine):
    for task in (None, "", "  "):
        with pytest.raises(InputError, match="'list' is a list of agents"):
            client.start_workflow("list", task)
    assert nothing_was_enqueued(engine)

    client.start_workflow("list", "src/")
    assert [message.step for message in engine.published()] == ["1-greeter"]


@pytest.mark.parametrize(
    ("workflow", "error"),
    [
        ("nobody", UnknownWorkflowError),
        ("missing.json", InputError),
        ({"steps": [{"id": "a"}]}, ProjectError),
        ({"steps": [{"id": "a", "agent": "nobody", "task": "x"}]}, ProjectError),
    ],
)
def test_a_workflow_that_cannot_be_used_is_refused(client, engine, workflow, error):
    with pytest.raises(error):
        client.start_workflow(workflow)

    assert nothing_was_enqueued(engine)


def test_a_file_that_is_no_json_is_named(client, tmp_path):
    file = tmp_path / "broken.json"
    file.write_text("{ broken")

    with pytest.raises(ConfigError, match=r"broken\.json is not valid JSON"):
        client.workflow(file)


def test_an_unknown_input_is_refused(client, engine):
    with pytest.raises(InputError, match="no input 'pth'"):
        client.start_workflow("dag", inputs={"pth": "x"})
    assert nothing_was_enqueued(engine)


@pytest.mark.parametrize("by", ["feature", "option"])
def test_a_project_or_a_caller_may_ask_for_one_step_after_the_other(make_client, engine, by):
    steps = {"steps": [{"id": one, "agent": "greeter", "task": "x"} for one in "abc"]}
    client = make_client(features={"parallel_workflows_enabled": by != "feature"})

    run = client.start_workflow(steps, options=WorkflowOptions(sequential=by == "option", pass_output=False))

    assert [message.step for message in engine.published()] == ["a"]
    assert engine.store.header(run.id, 1).plan.graph.order == ("a", "b", "c")
    assert not engine.store.header(run.id, 1).plan.steps[0].passes


# afterwards


def test_cancelling_a_run_that_has_not_begun_ends_it_at_once(client, engine):
    run = client.start_workflow("dag")
    engine.published()

    run.cancel()

    assert run.status() == "cancelled"
    assert [message.task for message in engine.published()] == [FINISH_RUN]
    assert run.result(timeout=0).status == "cancelled"


def test_cancelling_a_run_at_work_asks_it_to_stop(client, engine):
    run = client.start_workflow("dag")
    engine.claim(engine.store.header(run.id, 1), "one")
    engine.published()

    assert client.cancel(run.id) == "running"

    assert engine.field(run.id, "stopping") == "cancelled"
    assert engine.published() == []


def test_cancelling_what_has_ended_changes_nothing(client, engine):
    run = client.start_workflow("dag")
    run.cancel()
    engine.published()

    assert client.cancel(run.id) == "cancelled"
    assert engine.published() == []


def test_a_cancelled_execution_is_told_to_whoever_waits_for_its_result(client, engine):
    handle = client.submit("greeter", "hi")
    engine.published()

    handle.cancel()

    assert handle.status() == "cancelled"
    assert [message.task for message in engine.published()] == [RUN_AGENT]


def test_a_failed_run_is_retried(client, engine):
    run = client.start_workflow("dag")
    header = engine.store.header(run.id, 1)
    engine.finish_step(header, "one", FAILED)
    engine.store.commit(engine.claim(header, "two"), FAILED)
    engine.store.finish(run.id, 1)
    engine.published()

    assert client.retry(run.id) == 2

    assert [(message.step, message.args[2]) for message in engine.published()] == [("one", 2)]


def test_what_nobody_knows_can_be_neither_cancelled_nor_retried(client):
    for act in (client.cancel, client.retry):
        with pytest.raises(UnknownRunError):
            act("nobody")


def test_a_handle_is_found_again_by_its_id(client):
    run, execution = client.start_workflow("dag"), client.submit("greeter", "hi")

    assert client.run(run.id).status() == "pending"
    assert client.execution(execution.id).status() == "pending"


def _said(text):
    return Outcome("succeeded", 1, {}, text)


@pytest.mark.parametrize("seconds", [0, -1.5, float("nan")])
def test_a_time_out_that_cannot_be_kept_is_refused(client, engine, seconds):
    with pytest.raises(InputError, match="cannot be kept"):
        client.start_workflow("dag", timeout_seconds=seconds)
    assert nothing_was_enqueued(engine)
