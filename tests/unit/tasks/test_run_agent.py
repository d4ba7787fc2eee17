"""One agent as an ordinary Celery task."""

import pytest
from celery.exceptions import Ignore, Retry

from cf_workers.errors import (
    CallRejectedError,
    CancelledError,
    InputError,
    OverloadedError,
    TaskTooLongError,
    UnknownAgentError,
)
from cf_workers.tasks import run_agent
from tests.support.engine import plan

PREVIOUS = {"agent_name": "researcher", "output": "found it"}


def deliver(worker, *args, id="e1", **options):
    with worker.delivery(run_agent, *args, id=id, kwargs=options):
        return run_agent.run(*args, **options)


def test_the_result_is_the_document_that_the_command_line_prints(worker):
    document = deliver(worker, "greeter", "say hello", max_tokens=7)

    assert (document["success"], document["output"], document["agent_name"]) == (
        True,
        "greeter says hello",
        "greeter",
    )
    assert document["metadata"]["execution_id"] == "e1"
    assert document["metadata"]["tokens_used"] == 115
    (call,) = worker.model.asked
    assert (call.task, call.max_tokens) == ("say hello", 7)
    assert worker.engine.history.status("e1") == "succeeded"


def test_what_came_before_is_shown_to_the_agent(worker):
    deliver(worker, [PREVIOUS], "writer", "Write it up")

    (call,) = worker.model.asked
    assert [(one.step, one.agent, one.output) for one in call.outputs] == [
        ("previous-1", "researcher", "found it")
    ]


def test_a_second_delivery_gives_the_same_result_and_asks_nobody(worker):
    first = deliver(worker, "greeter", "hi")

    assert deliver(worker, "greeter", "hi") == first
    assert len(worker.model.asked) == 1


@pytest.mark.parametrize(
    ("args", "options", "error"),
    [
        (("nobody", "hi"), {}, UnknownAgentError),
        (("greeter",), {}, InputError),
        (("greeter", "hi"), {"temperature": 1}, InputError),
        (("greeter", "x" * 1001), {}, TaskTooLongError),
    ],
)
def test_input_that_cannot_work_is_an_error_and_leaves_no_record(worker, args, options, error):
    with pytest.raises(error):
        deliver(worker, *args, **options)

    assert worker.model.asked == []
    assert not worker.engine.history.exists("e1")


def test_a_failed_execution_raises_its_error_then_and_at_every_delivery(worker):
    worker.model.will(CallRejectedError("no", {"status": 400}))

    for _ in range(2):
        with pytest.raises(CallRejectedError, match="no") as caught:
            deliver(worker, "greeter", "hi")
        assert caught.value.status == 400
    assert worker.engine.history.status("e1") == "failed"


def test_a_retry_sends_the_message_of_the_execution_again(worker):
    worker.model.will(OverloadedError("x"))

    with pytest.raises(Retry):
        deliver(worker, "greeter", "hi", max_tokens=7)

    (again,) = worker.published()
    assert (again.id, again.args) == ("e1", ("greeter", "hi"))


def test_an_execution_at_work_elsewhere_is_left_alone(worker):
    header = worker.record(_one_step(), run="e1", task="hi", message={"task": run_agent.name})
    worker.engine.claim(header, "greeter", "w2")

    with pytest.raises(Ignore, match="held"):
        deliver(worker, "greeter")


def test_a_cancelled_execution_raises(worker):
    worker.record(_one_step(), run="e1", task="hi", message={"task": run_agent.name})
    worker.engine.store.stop("e1", "cancelled")

    with pytest.raises(CancelledError, match="'e1' was cancelled"):
        deliver(worker, "greeter")
    assert worker.model.asked == []


def test_the_record_of_a_producer_is_used_as_it_is(worker):
    """The message names the agent alone; the task stays out of the broker."""
    worker.record(_one_step(), run="e1", task="from the record", message={"task": run_agent.name})

    deliver(worker, "greeter")

    assert worker.model.asked[0].task == "from the record"


def _one_step():
    return plan("greeter")
