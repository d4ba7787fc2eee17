"""What a record tells of a run: while it runs, when it has ended, when it was cancelled."""

from dataclasses import replace

import pytest

from cf_workers.errors import DefinitionMissingError, InputError, LostError, UnknownRunError, describe_error
from cf_workers.workflows.accounts import Accounts
from cf_workers.workflows.history import History
from cf_workers.workflows.outcome import Outcome
from cf_workers.workflows.record import NewRun
from tests.support.engine import FAILED, SUCCEEDED, diamond, plan, step

STATUSES_OF_ENDED_STEPS = {"succeeded", "failed", "skipped", "cancelled"}


def statuses(document):
    return {step: result["status"] for step, result in document["results"].items()}


def test_a_run_that_has_not_begun_is_pending(engine):
    header = engine.record(diamond(), task="look")

    document = engine.history.document(header.run)

    assert (document["success"], document["status"], document["kind"]) == (False, "pending", "workflow")
    assert set(statuses(document).values()) == {"waiting"}
    assert document["started_at"] is document["finished_at"] is document["total_time_seconds"] is None
    assert (document["steps_total"], document["steps_left"], document["steps_running"]) == (4, 4, 0)
    assert engine.history.exists(header.run)


def test_a_running_run_says_what_runs_what_is_retried_and_what_waits(engine):
    header = engine.record(diamond())
    engine.finish_step(header, "start")
    engine.claim(header, "left")
    engine.store.defer(engine.claim(header, "right"), attempts=1, countdown=5, reason="x")

    document = engine.history.document(header.run)

    assert document["status"] == "running"
    assert statuses(document) == {
        "start": "succeeded",
        "left": "running",
        "right": "retrying",
        "end": "waiting",
    }
    assert document["results"]["left"]["started_at"] >= document["started_at"]
    assert document["results"]["right"]["attempts"] == 1
    assert document["steps_running"] == 1


def test_a_run_that_has_ended_tells_everything(engine):
    header = engine.record(plan("a", step("b", "a", model="claude-opus-5")))
    engine.finish_step(
        header,
        "a",
        Outcome("succeeded", 1, {"model": "m-1", "estimated_cost": 0.5, "n": 1}, "text", 10, 2, 5),
    )
    engine.finish_step(header, "b", FAILED)
    engine.store.finish(header.run, 1)

    document = engine.history.document(header.run)

    assert (document["success"], document["status"], document["execution_order"]) == (
        False,
        "failed",
        ["a", "b"],
    )
    a, b = document["results"]["a"], document["results"]["b"]
    assert (a["output"], a["model"], a["estimated_cost"], a["error"]) == ("text", "m-1", 0.5, None)
    assert a["metadata"]["n"] == 1
    assert (b["output"], b["model"], b["dependencies"]) == (None, "claude-opus-5", ["a"])
    assert b["error"] == {"type": "CallRejectedError", "message": "no"}
    assert a["started_at"] <= a["finished_at"] <= b["finished_at"] <= document["finished_at"]
    assert document["total_time_seconds"] == pytest.approx(document["finished_at"] - document["created_at"])


def test_every_step_of_a_cancelled_run_has_ended(engine):
    header = engine.record(diamond())
    engine.finish_step(header, "start")
    engine.store.defer(engine.claim(header, "left"), attempts=1, countdown=500, reason="x")
    engine.store.stop(header.run, "cancelled")
    engine.store.finish(header.run, 1)

    document = engine.history.document(header.run)

    assert (document["status"], document["stopping"]) == ("cancelled", "cancelled")
    assert set(statuses(document).values()) <= STATUSES_OF_ENDED_STEPS
    assert statuses(document)["left"] == "cancelled"


def test_a_run_that_only_waits_to_be_let_in_is_parked(engine):
    header = engine.record(plan("a", "b"))
    engine.store.park(engine.claim(header, "a"), countdown=60, reason="breaker open")

    assert engine.history.status(header.run) == "parked"
    assert engine.history.document(header.run)["status"] == "parked"
    engine.claim(header, "b")
    assert engine.history.status(header.run) == "running"


def test_a_parked_run_that_was_cancelled_is_cancelled(engine):
    header = engine.record(plan("a"))
    engine.store.park(engine.claim(header, "a"), countdown=60, reason="breaker open")
    engine.store.stop(header.run, "cancelled")
    engine.store.finish(header.run, 1)

    assert engine.history.status(header.run) == "cancelled"
    assert statuses(engine.history.document(header.run)) == {"a": "cancelled"}


def test_outputs_are_left_out_on_request(engine):
    header = engine.record(plan("a"))
    engine.finish_step(header, "a")

    assert engine.history.document(header.run, outputs=False)["results"]["a"]["output"] is None


def test_the_time_of_a_second_attempt_counts_from_its_own_beginning(engine, server_time):
    header = engine.record(plan("a"))
    engine.finish_step(header, "a", FAILED)
    engine.store.finish(header.run, 1)
    server_time.advance(3600)
    again = engine.store.header(header.run, engine.store.reopen(header.run))
    engine.finish_step(again, "a")
    engine.store.finish(header.run, 2)

    assert engine.history.document(header.run)["total_time_seconds"] < 60


def test_what_nobody_knows_is_an_error(engine):
    for ask in (
        engine.history.status,
        engine.history.plan,
        engine.history.document,
        engine.history.execution,
    ):
        with pytest.raises(UnknownRunError, match="no run or execution 'nobody'"):
            ask("nobody")
    assert not engine.history.exists("nobody")


def test_the_plan_of_a_run_is_what_it_was_started_with(engine):
    assert engine.history.plan(engine.record(diamond()).run) == diamond()


def test_a_run_whose_plan_has_gone_is_told_without_its_steps(engine):
    header = engine.record(plan("a"))
    engine.client.delete(engine.keys.definition(header.plan.digest))
    elsewhere = History(engine.client, engine.keys, type(engine.definitions)(engine.client, engine.keys))

    assert elsewhere.document(header.run)["results"] == {}
    with pytest.raises(DefinitionMissingError):
        elsewhere.plan(header.run)
    with pytest.raises(DefinitionMissingError):
        elsewhere.execution(header.run)


# executions


def test_an_execution_counts_all_tokens_of_its_prompt(engine):
    header = engine.record(plan("greeter"))
    usage = {
        "input_tokens": 1,
        "output_tokens": 5,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 300,
    }
    engine.finish_step(header, "greeter", Outcome("succeeded", 2, {"usage": usage, "truncated": True}, "hi"))
    engine.store.finish(header.run, 1)

    document = engine.history.execution(header.run)

    assert (document["success"], document["agent_name"], document["output"]) == (True, "greeter", "hi")
    metadata = document["metadata"]
    assert (metadata["input_tokens"], metadata["output_tokens"], metadata["tokens_used"]) == (321, 5, 326)
    assert (metadata["execution_id"], metadata["attempts"], metadata["truncated"]) == (header.run, 2, True)
    assert document["errors"] == []


def test_an_execution_that_failed_comes_back_as_the_error_it_ended_with(engine):
    header = engine.record(plan("greeter"))
    error = LostError("3 workers died", {"deaths": 3})
    engine.finish_step(header, "greeter", Outcome("failed", 0, {"error": describe_error(error)}))
    engine.store.finish(header.run, 1)

    assert engine.history.execution(header.run)["errors"] == ["3 workers died"]
    back = engine.history.execution_error(header.run)
    assert (type(back), back.message, back.details) == (LostError, "3 workers died", {"deaths": 3})


def test_an_execution_that_ended_without_an_error_of_its_own_has_one_all_the_same(engine):
    header = engine.record(plan("greeter"))

    assert "failed" in engine.history.execution_error(header.run).message


def test_a_run_of_many_steps_is_not_an_execution(engine):
    header = engine.record(diamond())

    with pytest.raises(InputError, match="is a run of a workflow"):
        engine.history.execution(header.run)


# listings


def test_the_newest_runs_come_first_in_pages(engine, server_time):
    for n in range(5):
        engine.record(plan("a"), run=f"r{n}")
        server_time.advance(1)

    assert [one["run_id"] for one in engine.history.newest(limit=2)] == ["r4", "r3"]
    assert [one["run_id"] for one in engine.history.newest(limit=2, offset=3)] == ["r1", "r0"]


def test_a_run_that_is_no_longer_kept_is_not_listed(engine):
    engine.record(plan("a"), run="old")
    engine.record(plan("a"), run="new")
    engine.client.delete(*engine.keys.run("old").all())

    assert [one["run_id"] for one in engine.history.newest()] == ["new"]


# events


def test_events_are_read_after_the_last_one_seen(engine):
    header = engine.record(plan("a"))
    engine.claim(header, "a")
    first, *rest = engine.history.events(header.run)

    assert (first.type, first.run, first.step) == ("run.created", header.run, None)
    assert engine.history.events(header.run, after=first.id) == rest
    assert engine.history.events(header.run, after=rest[-1].id) == []
    assert (rest[-1].type, rest[-1].step, rest[-1].data) == (
        "step.started",
        "a",
        {"attempts": "1", "deaths": "0"},
    )


def test_following_a_run_that_has_ended_gives_everything_and_stops(engine):
    header = engine.record(plan("a"))
    engine.finish_step(header, "a")
    engine.store.finish(header.run, 1)

    followed = [event.type for event in engine.history.follow(header.run) if event]

    assert followed == ["run.created", "run.started", "step.started", "step.succeeded", "run.finished"]


def test_following_a_run_says_when_nothing_happens(engine):
    header = engine.record(plan("a"))
    following = engine.history.follow(header.run, wait_seconds=0.001)

    assert next(following).type == "run.created"
    assert next(following) is None
    engine.finish_step(header, "a")
    assert next(following).type == "run.started"


def test_what_happens_between_two_looks_is_not_missed(engine):
    """The run ends right after a look at its events found nothing."""
    header = engine.record(plan("a"))

    class EndsMeanwhile(History):
        looks = 0

        def status(self, run):
            self.looks += 1
            if self.looks == 2:
                engine.finish_step(header, "a")
                engine.store.finish(run, 1)
            return super().status(run)

    watching = EndsMeanwhile(engine.client, engine.keys, engine.definitions)
    followed = [event.type for event in watching.follow(header.run, wait_seconds=0.001) if event]

    assert followed[-1] == "run.finished"


def test_a_run_that_was_started_again_is_followed_to_its_second_end(engine):
    header = engine.record(plan("a"))
    engine.finish_step(header, "a", FAILED)
    engine.store.finish(header.run, 1)
    engine.store.reopen(header.run)
    following = engine.history.follow(header.run, wait_seconds=0.001)

    seen = [event.type for event in iter(lambda: next(following), None)]
    again = engine.store.header(header.run, 2)
    engine.finish_step(again, "a", SUCCEEDED)
    engine.store.finish(header.run, 2)
    seen += [event.type for event in following if event]

    assert seen.count("run.finished") == 2
    assert seen[-1] == "run.finished"


def test_following_what_nobody_knows_is_an_error(engine):
    with pytest.raises(UnknownRunError):
        next(engine.history.follow("nobody", wait_seconds=0.001))


def test_a_record_without_a_started_step_is_readable(engine):
    engine.store.start(NewRun(run="empty", kind="workflow", plan=plan()))
    engine.store.finish("empty", 1)

    assert engine.history.status("empty") == "succeeded"


def test_a_parked_step_says_what_it_waits_for_until_it_goes_on(engine):
    header = engine.record(plan("a", "b"))
    engine.store.park(engine.claim(header, "a"), countdown=0, reason="waiting for a message batch")

    def told():
        document = engine.history.document(header.run)
        return document["results"]["a"]["waits_for"], document["steps_parked"]

    assert told() == ("waiting for a message batch", 1)
    engine.store.explain([f"{header.run}\ta", f"{header.run}\tb"], "in batch msgbatch_1")
    assert told() == ("in batch msgbatch_1", 1)
    reasons = [event.data["reason"] for event in engine.history.events(header.run) if "reason" in event.data]
    assert reasons == ["waiting for a message batch", "in batch msgbatch_1"]
    engine.finish_step(header, "a")
    assert told() == (None, 0)


def test_what_was_paid_for_an_answer_that_came_too_late_is_part_of_the_run_s_cost(engine):
    header = engine.record(plan("a"))
    engine.finish_step(header, "a", Outcome("succeeded", attempts=1, result={}, cost_nanos=2_000_000_000))

    lost = Outcome(
        "cancelled",
        attempts=1,
        result={"agent": "a", "model": "m"},
        input_tokens=10,
        output_tokens=5,
        cost_nanos=1_000_000_000,
    )

    engine.store.book_lost(header.run, lost)

    document = engine.history.document(header.run)
    assert (document["estimated_cost"], document["lost_calls"]) == (3.0, 1)
    assert (document["input_tokens"], document["output_tokens"]) == (10, 5)
    (day,) = Accounts(engine.client, engine.keys).day()
    assert (day.agent, day.model, day.sums["cost_nanos"]) == ("a", "m", 1_000_000_000)
    engine.store.book_lost(header.run, replace(lost, cost_nanos=None))
    assert engine.history.document(header.run)["estimated_cost"] is None, "a price is unknown"
