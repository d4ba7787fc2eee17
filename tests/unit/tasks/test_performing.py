"""One step from its message to its commit, whatever happens on the way."""

import logging

import pytest
import redis
from celery.exceptions import Ignore, Reject, Retry
from kombu.exceptions import OperationalError

from cf_workers.errors import (
    CallRejectedError,
    CancelledError,
    LostError,
    OverloadedError,
    ProviderDownError,
    RunCancelledError,
    RunFailedError,
    StreamCutError,
)
from cf_workers.reliability import Reason, token_for
from cf_workers.tasks import execute_step, finish_run
from cf_workers.tasks.answering import NotNow
from cf_workers.tasks.performing import perform
from cf_workers.workflows.outcome import Outcome
from tests.support.engine import FAILED, SUCCEEDED, diamond, plan, step


def execute(worker, header, id):
    """Deliver the message of a step."""
    with worker.delivery(execute_step, header.run, id, header.attempt, id=f"{header.run}:{id}"):
        execute_step.run(header.run, id, header.attempt)


def finish(worker, header):
    with worker.delivery(finish_run, header.run, header.attempt, id=header.run):
        return finish_run.run(header.run, header.attempt)


def status(worker, header, id):
    return worker.engine.state(header.run, id).get("s")


def test_a_step_is_asked_committed_and_releases_what_waited_for_it(worker):
    header = worker.record(plan(step("a", task="Begin."), step("b", "a", task="Go on.")), task="src/")

    execute(worker, header, "a")

    (call,) = worker.model.asked
    assert (call.agent.name, call.task) == ("a", "Begin.\n\nsrc/")
    document = worker.engine.history.document(header.run)
    assert document["results"]["a"]["output"] == "a says hello"
    assert (document["input_tokens"], document["output_tokens"]) == (110, 5)
    assert document["estimated_cost"] > 0
    assert [message.step for message in worker.published()] == ["b"]


def test_a_step_sees_the_outputs_of_its_dependencies_in_declared_order(worker):
    header = worker.record(plan("a", "b", step("c", "b", "a")))
    for id in "abc":
        execute(worker, header, id)

    assert [(one.step, one.agent, one.output) for one in worker.model.asked[-1].outputs] == [
        ("b", "b", "b says hello"),
        ("a", "a", "a says hello"),
    ]


def test_a_whole_run_goes_from_message_to_message(worker):
    header = worker.start(diamond())
    executed = []
    while messages := worker.published():
        for message in messages:
            executed.append(message.step)
            if message.task == finish_run.name:
                document = finish(worker, header)
            else:
                execute(worker, header, message.step)

    assert executed[0] == "start"
    assert sorted(executed[1:3]) == ["left", "right"]
    assert executed[3:] == ["end", finish_run.name]
    assert (document["status"], document["results"]["end"]["output"]) == ("succeeded", None)


def test_a_failure_that_may_pass_is_retried_with_the_reason(worker):
    header = worker.record(plan("a"))
    worker.model.will(OverloadedError("overloaded", {"retry_after": 20}))

    with pytest.raises(Retry, match="overloaded"):
        execute(worker, header, "a")

    (again,) = worker.published()
    assert (again.id, again.args) == ("r1:a", ("r1", "a", 1))
    assert status(worker, header, "a") == "retrying"
    assert worker.engine.history.events("r1")[-1].data["reason"] == "overloaded"
    assert worker.engine.client.zcard(worker.engine.keys.claims) == 0


def test_an_attempt_after_a_retry_counts_on(worker):
    header = worker.record(plan(step("a", max_retries=5)))
    for attempt in (1, 2):
        worker.engine.store.defer(worker.engine.claim(header, "a"), attempts=attempt, countdown=0, reason="x")

    execute(worker, header, "a")

    assert worker.engine.history.document("r1")["results"]["a"]["attempts"] == 3


@pytest.mark.parametrize(("of_step", "requests"), [(None, 4), (0, 1), (1, 2)])
def test_after_the_last_attempt_the_step_has_failed(worker, of_step, requests):
    header = worker.record(plan(step("a", max_retries=of_step), step("b", "a")))
    worker.model.will(*[OverloadedError("overloaded")] * 10)
    worker.engine.store.policy.__dict__["early_seconds"] = 1e6  # a retry need not wait in this test

    outcomes = []
    for _ in range(requests):
        with pytest.raises((Retry, OverloadedError)) as caught:
            execute(worker, header, "a")
        outcomes.append(caught.type)

    assert outcomes == [Retry] * (requests - 1) + [OverloadedError]
    assert len(worker.model.asked) == requests
    assert status(worker, header, "a") == "failed"
    assert [message.step for message in worker.published()][-1] == "b"


def test_a_failure_that_would_come_again_is_not_retried(worker):
    header = worker.record(plan("a", step("b", "a")))
    worker.model.will(CallRejectedError("too long"))

    with pytest.raises(CallRejectedError, match="too long"):
        execute(worker, header, "a")

    assert [message.step for message in worker.published()] == ["b"]
    execute(worker, header, "b")
    assert [one.agent.name for one in worker.model.asked] == ["a"]
    assert status(worker, header, "b") == "skipped"


def test_a_call_that_was_cut_off_may_have_been_paid(worker):
    header = worker.record(plan("a"))
    worker.model.will(StreamCutError("cut"))

    with pytest.raises(Retry):
        execute(worker, header, "a")

    assert worker.engine.history.document("r1")["lost_calls"] == 1


def test_what_a_failed_attempt_cost_is_on_the_bill_of_the_run(worker):
    header = worker.record(plan("a"))
    usage = {"input_tokens": 1000, "output_tokens": 20}
    worker.model.will(StreamCutError("cut", {"usage": usage}))

    with pytest.raises(Retry):
        execute(worker, header, "a")

    document = worker.engine.history.document("r1")
    assert (document["input_tokens"], document["output_tokens"]) == (1000, 20)
    assert document["estimated_cost"] > 0


def test_a_failed_attempt_without_a_known_price_makes_the_cost_of_the_run_unknown(worker):
    header = worker.record(plan(step("a", model="model-of-tomorrow")))
    worker.model.will(StreamCutError("cut", {"usage": {"output_tokens": 20}}))

    with pytest.raises(Retry):
        execute(worker, header, "a")

    assert worker.engine.history.document("r1")["estimated_cost"] is None


def test_a_second_delivery_of_a_step_at_work_drops_itself(worker):
    header = worker.record(plan("a"))
    worker.engine.claim(header, "a", "w2")

    execute(worker, header, "a")

    assert worker.model.asked == []
    assert worker.published() == []


def test_a_second_delivery_of_a_step_that_has_ended_only_releases_again(worker):
    header = worker.record(plan("a", step("b", "a")))
    worker.engine.finish_step(header, "a")

    execute(worker, header, "a")

    assert worker.model.asked == []
    assert [message.step for message in worker.published()] == ["b"]


def test_a_message_of_a_run_that_nobody_knows_is_dropped(worker, caplog):
    with worker.delivery(execute_step, "gone", "a", 1, id="gone:a"), caplog.at_level(logging.INFO):
        execute_step.run("gone", "a", 1)

    assert "verdict=gone" in caplog.text


def test_a_step_that_killed_too_many_workers_fails_without_being_asked(worker):
    header = worker.record(plan("a"))
    for n in range(3):
        claim = worker.engine.claim(header, "a", f"dead{n}", may_take_over=True)
        worker.engine.client.zadd(worker.engine.keys.claims, {claim.member: 1})

    with pytest.raises(LostError, match="3 workers died while they ran step 'a'"):
        execute(worker, header, "a")

    assert worker.model.asked == []
    assert status(worker, header, "a") == "failed"


def test_a_run_of_a_newer_release_is_left_to_newer_workers(worker):
    header = worker.record(plan("a"))
    worker.engine.client.hset(worker.engine.keys.run("r1").run, "version", 99)

    with pytest.raises(Retry, match="newer release"):
        execute(worker, header, "a")

    assert len(worker.published()) == 1


def test_a_worker_that_was_superseded_commits_nothing(worker):
    header = worker.record(plan("a"))

    def taken_over(call, token):
        token.cancel("superseded")
        return CancelledError("superseded")

    worker.model.will(taken_over)

    with pytest.raises(Ignore):
        execute(worker, header, "a")
    assert status(worker, header, "a") == "running"


def test_an_answer_that_comes_after_a_take_over_is_not_committed(worker, caplog):
    header = worker.record(plan("a", step("b", "a")))

    def slow(call, token):
        worker.engine.client.delete(worker.engine.keys.claims)
        worker.engine.claim(header, "a", "w2", may_take_over=True)
        return "late"

    worker.model.will(slow)

    execute(worker, header, "a")

    assert "commit.superseded run=r1 step=a" in caplog.text
    assert worker.published() == []
    assert status(worker, header, "a") == "running"


def test_a_failure_that_comes_after_a_take_over_is_not_retried(worker):
    header = worker.record(plan("a"))

    def slow(call, token):
        worker.engine.client.delete(worker.engine.keys.claims)
        worker.engine.claim(header, "a", "w2", may_take_over=True)
        return OverloadedError("late")

    worker.model.will(slow)

    with pytest.raises(Ignore):
        execute(worker, header, "a")
    assert worker.published() == []
    assert status(worker, header, "a") == "running"


def test_a_step_of_a_worker_that_stops_goes_back_and_spends_no_attempt(worker):
    header = worker.record(plan("a"), run="drained")  # tokens are kept by id
    token = token_for("drained:a")

    def stops(call, own):
        token.cancel(Reason.DRAINING)
        assert own.cancelled
        return CancelledError("draining")

    worker.model.will(stops)

    with pytest.raises(Reject) as caught:
        execute(worker, header, "a")

    assert caught.value.requeue
    assert worker.engine.history.document("drained")["lost_calls"] == 1
    again = worker.engine.claim(header, "a")
    assert (again.verdict, again.attempts) == ("run", 0)


def test_a_revoked_step_is_cancelled_and_nothing_is_stored_over_the_revocation(worker):
    header = worker.record(plan("a", step("b", "a")), run="revoked")
    token = token_for("revoked:a")

    def revoked(call, own):
        token.cancel(Reason.REVOKED)
        return CancelledError("revoked")

    worker.model.will(revoked)

    with pytest.raises(Ignore):
        execute(worker, header, "a")

    assert status(worker, header, "a") == "cancelled"
    assert [message.step for message in worker.published()] == ["b"]


def test_the_last_call_of_a_stopping_run_publishes_its_end(worker):
    header = worker.record(plan("a", "b"))

    def stopping(call, token):
        worker.engine.store.stop("r1", "cancelled")
        worker.heartbeat.beat()
        assert token.reason == "cancelled"
        return CancelledError("cancelled")

    worker.model.will(stopping)

    execute(worker, header, "a")

    assert status(worker, header, "a") == "cancelled"
    assert [message.step for message in worker.published()] == [finish_run.name]
    with pytest.raises(RunCancelledError):
        finish(worker, header)


def test_a_step_of_a_stopping_run_is_not_asked(worker):
    header = worker.record(plan("a", "b"))
    worker.engine.store.stop("r1", "cancelled")

    execute(worker, header, "a")

    assert worker.model.asked == []
    assert status(worker, header, "a") == "cancelled"


def test_a_release_that_fails_does_not_undo_the_commit(worker, caplog):
    """The reconciler repeats it."""
    header = worker.record(plan("a", step("b", "a")))

    class Unreachable(type(worker.runtime.launcher)):
        def release(self, header, step):
            raise OperationalError("no broker")

    worker.runtime.launcher.__class__ = Unreachable

    execute(worker, header, "a")

    assert status(worker, header, "a") == "succeeded"
    assert "release.failed run=r1 step=a error=OperationalError" in caplog.text


def test_what_was_performed_is_said(worker):
    header = worker.record(plan("a"))
    with worker.delivery(execute_step, id="r1:a"):
        performed = perform(execute_step, worker.runtime, header, header.plan.by_id["a"])

    assert (performed.verdict, performed.error) == ("run", None)


# the end of a run


def test_the_result_of_a_run_is_its_document_without_outputs(worker):
    header = worker.record(plan("a"))
    worker.engine.finish_step(header, "a")

    document = finish(worker, header)

    assert (document["run_id"], document["success"]) == ("r1", True)
    assert document["results"]["a"]["output"] is None
    assert finish(worker, header) == document


def test_a_failed_run_names_the_steps_that_failed(worker):
    header = worker.record(plan("a", "b"))
    worker.engine.finish_step(header, "a", FAILED)
    worker.engine.finish_step(header, "b", SUCCEEDED)

    with pytest.raises(RunFailedError, match="1 of 2 steps failed: a") as caught:
        finish(worker, header)

    assert caught.value.details["failed_steps"] == ["a"]
    assert "runs retry r1" in caught.value.hint


def test_a_run_that_took_too_long_says_so(worker):
    header = worker.record(plan("a"), timeout_seconds=1)
    worker.engine.store.stop("r1", "timeout")

    with pytest.raises(RunFailedError, match="longer than its time-out"):
        finish(worker, header)


@pytest.mark.parametrize("verdict", ["early", "busy", "stale"])
def test_the_end_of_a_run_that_has_not_ended_is_ignored(worker, verdict):
    header = worker.record(plan("a"))
    if verdict == "busy":
        worker.engine.claim(header, "a")
        worker.engine.store.stop("r1", "cancelled")

    with worker.delivery(finish_run, id="r1"), pytest.raises(Ignore, match=verdict):
        finish_run.run("r1", 2 if verdict == "stale" else 1)


def test_an_ended_run_gives_back_its_definitions(worker):
    header = worker.record(plan("a"))
    worker.engine.finish_step(header, "a", Outcome("succeeded", 1, {}))

    finish(worker, header)

    assert not worker.engine.client.exists(worker.engine.keys.definition_users(header.plan.digest))


# -- while the server is away


class Outage:
    """The server is away for the next calls of a method of the store, before or after it has obeyed."""

    def __init__(self, worker, monkeypatch, method, *, times, obeyed):
        self._times, self._obeyed = times, obeyed
        self._do = getattr(worker.engine.store, method)
        monkeypatch.setattr(worker.engine.store, method, self)
        monkeypatch.setattr(worker.runtime.outlast, "_sleep", lambda _: None)

    def __call__(self, *args, **kwargs):
        if not self._times:
            return self._do(*args, **kwargs)
        self._times -= 1
        if self._obeyed:
            self._do(*args, **kwargs)
        raise redis.ConnectionError("away")


@pytest.mark.parametrize("obeyed", [False, True])
@pytest.mark.parametrize("method", ["header", "claim", "commit"])
def test_an_answer_is_written_down_when_the_server_is_back(worker, monkeypatch, method, obeyed):
    """The call is not made again, and what follows is released."""
    header = worker.record(plan("a", step("b", "a")))
    Outage(worker, monkeypatch, method, times=2, obeyed=obeyed)

    execute(worker, header, "a")

    assert len(worker.model.asked) == 1
    assert status(worker, header, "a") == "succeeded"
    assert [message.step for message in worker.published()] == ["b"]
    document = worker.engine.history.document("r1")
    assert (document["lost_calls"], document["results"]["a"]["deaths"]) == (0, 0)


@pytest.mark.parametrize("obeyed", [False, True])
def test_a_failed_attempt_is_noted_once_when_the_server_is_back(worker, monkeypatch, obeyed):
    header = worker.record(plan("a"))
    worker.model.will(StreamCutError("cut"))
    Outage(worker, monkeypatch, "defer", times=2, obeyed=obeyed)

    with pytest.raises(Retry):
        execute(worker, header, "a")

    assert [message.step for message in worker.published()] == ["a"]
    assert worker.engine.history.document("r1")["lost_calls"] == 1


def test_a_retry_that_cannot_be_sent_is_left_to_the_reconciler(worker, monkeypatch, caplog):
    """The task shows RETRY and not FAILURE: the record says when the next attempt is due."""
    header = worker.record(plan("a"))
    worker.model.will(OverloadedError("overloaded"))

    def away(*_):
        raise OperationalError("away")

    monkeypatch.setattr(execute_step, "try_again", away)

    with pytest.raises(Retry):
        execute(worker, header, "a")

    assert worker.engine.client.zrange(worker.engine.keys.due, 0, -1) == ["r1\ta"]
    assert "retry.not_sent run=r1 step=a" in caplog.text


def test_an_outage_does_not_make_a_run_s_result_a_failure(worker, monkeypatch):
    header = worker.record(plan("a"))
    execute(worker, header, "a")
    Outage(worker, monkeypatch, "finish", times=2, obeyed=True)

    assert finish(worker, header)["status"] == "succeeded"


# -- steps that kill their workers


def test_a_step_that_is_given_up_leaves_a_dead_letter(worker):
    header = worker.record(plan("a", step("b", "a")))
    worker.heartbeat._steady_since = float("-inf")  # the server has been up for long
    for n in range(3):
        claim = worker.engine.claim(header, "a", f"dead{n}", may_take_over=True)
        worker.engine.client.zadd(worker.engine.keys.claims, {claim.member: 1})

    with pytest.raises(LostError) as caught:
        execute(worker, header, "a")

    (letter,) = worker.runtime.dead_letters.newest()
    assert (letter.run, letter.step, letter.agent, letter.attempt) == ("r1", "a", "a", 1)
    assert (letter.deaths, letter.workers) == (3, ("dead0", "dead1", "dead2"))
    assert letter.error == caught.value.message
    assert status(worker, header, "a") == "failed"
    assert worker.model.asked == []


class Refusing:
    """Refuses as it was told, and answers when there is nothing left to refuse with."""

    def __init__(self, inner, *refusals):
        self.inner, self.refusals = inner, list(refusals)

    def ask(self, call, caller, token):
        if self.refusals:
            raise self.refusals.pop(0)
        return self.inner.ask(call, caller, token)


def refuse(worker, *refusals):
    """From now on, what asks is refused so often."""
    answering = Refusing(worker.runtime.answering, *refusals)
    worker.runtime.__dict__["answering"] = answering


def test_a_refused_step_is_parked_without_a_message_and_events_say_why(worker):
    header = worker.record(plan("a"))
    refuse(worker, NotNow("the circuit breaker is open", 20))

    with pytest.raises(Retry) as caught:
        execute(worker, header, "a")

    assert "the circuit breaker is open" in repr(caught.value.exc)
    assert worker.published() == []
    assert (status(worker, header, "a"), worker.engine.state("r1", "a")["a"]) == ("parked", 0)


def test_a_probe_that_failed_is_parked_and_costs_the_step_no_attempt(worker):
    header = worker.record(plan(step("a", max_retries=0)))
    probe = StreamCutError("cut", {"usage": {"input_tokens": 100, "output_tokens": 0}})
    refuse(worker, NotNow("the circuit breaker is open", 0, probe=probe))

    with pytest.raises(Retry, match="open"):
        execute(worker, header, "a")
    execute(worker, header, "a")

    document = worker.engine.history.document("r1")
    assert document["results"]["a"]["status"] == "succeeded"
    assert document["results"]["a"]["attempts"] == 1
    assert document["input_tokens"] == 210
    assert document["lost_calls"] == 1


def test_a_step_that_only_ever_probes_pays_with_attempts_in_the_end(worker):
    """It may fail for reasons of its own, and would keep the breaker open for ever."""
    header = worker.record(plan(step("a", max_retries=0)))
    refuse(worker, *[NotNow("open", 0, probe=OverloadedError("overloaded")) for _ in range(11)])

    for _ in range(10):
        with pytest.raises(Retry):
            execute(worker, header, "a")
    with pytest.raises(OverloadedError):
        execute(worker, header, "a")

    assert status(worker, header, "a") == "failed"


def test_a_caller_in_a_hurry_gets_the_refusal_at_once(worker):
    header = worker.record(plan("a"))
    refuse(worker, NotNow("open", 20, instead=ProviderDownError("No call was made.")))

    with pytest.raises(ProviderDownError):
        execute(worker, header, "a")

    result = worker.engine.history.document("r1")["results"]["a"]
    assert (result["status"], result["attempts"]) == ("failed", 0)
