"""A failed attempt is a retry of Celery's: the same message again, later, with the reason."""

from datetime import datetime

import pytest
from celery.exceptions import Retry

from cf_workers.errors import OverloadedError, RateLimitedError
from cf_workers.tasks import execute_step, run_agent
from cf_workers.tasks.base import AgentTask


class Patient(AgentTask):
    retry_backoff = 2.0
    retry_backoff_max = 5.0
    retry_jitter = False


def test_the_wait_comes_from_the_policy_under_celerys_names():
    waits = [Patient().wait_after(OverloadedError("x"), attempt) for attempt in (1, 2, 3, 9)]

    assert waits == [2, 4, 5, 5]


def test_a_wait_that_the_provider_asks_for_is_kept():
    assert Patient().wait_after(RateLimitedError("x", {"retry_after": 30}), 1) == 32


def test_the_default_wait_is_spread():
    waits = {AgentTask().wait_after(OverloadedError("x"), 3) for _ in range(20)}

    assert len(waits) > 1
    assert all(0 <= wait <= 4 for wait in waits)


@pytest.mark.parametrize("task", [execute_step, run_agent], ids=lambda task: task.name)
def test_every_task_that_asks_a_model_has_the_policy(engine, task):
    assert isinstance(task, AgentTask)
    assert (task.max_retries, task.retry_backoff, task.retry_backoff_max) == (3, 1.0, 60.0)
    assert task.acks_late


def test_trying_again_publishes_the_same_message_and_ends_as_a_retry(engine, worker):
    error = OverloadedError("overloaded until noon")
    delivered = {"retries": 2, "group": "g1", "group_index": 4, "argsrepr": "agent=w step=a run=r1"}
    with (
        worker.delivery(execute_step, "r1", "a", 1, id="r1:a", **delivered),
        pytest.raises(Retry) as caught,
    ):
        execute_step.try_again(error, 30)

    (message,) = engine.published()
    assert (message.id, message.args, message.queue) == ("r1:a", ("r1", "a", 1), "interactive")
    assert message.headers["retries"] == 3
    assert message.headers["argsrepr"] == "agent=w step=a run=r1"
    assert (message.headers["group"], message.headers["group_index"]) == ("g1", 4)
    eta = datetime.fromisoformat(message.headers["eta"]).timestamp()
    assert eta == pytest.approx(datetime.now().timestamp() + 30, abs=5)
    assert (caught.value.exc, caught.value.when) == (error, 30)
    assert "overloaded until noon" in str(caught.value)


def test_an_execution_in_somebodys_canvas_keeps_chord_and_links(engine, worker):
    after = engine.app.signature("elsewhere.next")
    body = engine.app.signature("elsewhere.body")
    with (
        worker.delivery(
            run_agent, "greeter", "hi", id="e1", chord=body, callbacks=[after], kwargs={"max_tokens": 5}
        ),
        pytest.raises(Retry),
    ):
        run_agent.try_again(OverloadedError("x"), 1)

    (message,) = engine.published()
    assert message.id == "e1"
    assert message.headers["argsrepr"] == "agent=greeter"
