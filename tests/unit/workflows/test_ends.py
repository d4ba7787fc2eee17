"""A step ends once, and so does a run; what stays and for how long is known."""

import pytest

from cf_workers.errors import InputError, UnknownRunError
from cf_workers.workflows.record import NewRun, Outcome
from tests.support.engine import FAILED, SUCCEEDED, diamond, plan, step

DAY = 86_400


def ended_run(engine, of, *outcomes):
    """A run whose steps ended as given, in the plan's order."""
    header = engine.record(of)
    for one, outcome in zip(of.steps, outcomes, strict=False):
        engine.finish_step(header, one.id, outcome)
    engine.store.finish(header.run, 1)
    return header


# committing


def test_a_commit_writes_state_result_output_order_totals_and_event_at_once(engine):
    header = engine.record(plan("a", "b"))
    claim = engine.claim(header, "a")

    committed = engine.store.commit(
        claim,
        Outcome(
            "succeeded",
            2,
            {"model": "m"},
            "text",
            input_tokens=10,
            output_tokens=5,
            cost_nanos=70,
            lost_calls=1,
        ),
    )

    assert (committed.left, committed.running, committed.stopping) == (1, 0, "")
    document = engine.history.document(header.run)
    assert document["results"]["a"]["output"] == "text"
    assert document["results"]["a"]["attempts"] == 2
    assert document["results"]["a"]["model"] == "m"
    assert document["execution_order"] == ["a"]
    assert (document["input_tokens"], document["output_tokens"]) == (10, 5)
    assert document["estimated_cost"] == pytest.approx(70e-9)
    assert document["lost_calls"] == 1
    assert engine.history.events(header.run)[-1].type == "step.succeeded"
    assert engine.client.zcard(engine.keys.claims) == 0


def test_a_commit_with_a_stale_fence_changes_nothing(engine):
    header = engine.record(plan("a"))
    first = engine.claim(header, "a", "w1")
    engine.client.zrem(engine.keys.claims, first.member)
    second = engine.claim(header, "a", "w2", may_take_over=True)

    assert engine.store.commit(first, Outcome("succeeded", 1, {}, "late")) is None
    assert engine.state(header.run, "a")["s"] == "running"
    assert engine.store.commit(second, SUCCEEDED).left == 0
    assert engine.history.document(header.run)["results"]["a"]["output"] == "fine"


def test_a_second_commit_of_the_same_claim_changes_nothing(engine):
    header = engine.record(plan("a", "b"))
    claim = engine.claim(header, "a")
    first = engine.store.commit(claim, SUCCEEDED)

    assert engine.store.commit(claim, SUCCEEDED) == first, (
        "whoever did not hear of the first goes on as after it"
    )
    assert engine.store.commit(claim, FAILED) is None
    assert engine.field(header.run, "left") == "1"
    assert engine.history.document(header.run)["execution_order"] == ["a"]
    assert [event.type for event in engine.history.events(header.run)].count("step.succeeded") == 1


@pytest.mark.parametrize("how", ["defer", "park"])
def test_giving_a_claim_back_twice_changes_nothing(engine, how):
    header = engine.record(plan("a"))
    claim = engine.claim(header, "a")
    more = {"attempts": 1, "lost_calls": 1} if how == "defer" else {}

    for _ in range(2):
        assert getattr(engine.store, how)(claim, countdown=5, reason="x", **more)

    assert engine.field(header.run, "running") == "0"
    assert engine.field(header.run, "lost_calls") == ("1" if how == "defer" else None)
    assert engine.field(header.run, "parked") == (None if how == "defer" else "1")
    assert len(engine.history.events(header.run)) == 4


def test_a_claim_cannot_be_given_back_after_the_next_one(engine):
    header = engine.record(plan("a"))
    first = engine.claim(header, "a")
    engine.store.defer(first, attempts=1, countdown=0, reason="x")
    engine.store.defer(engine.claim(header, "a"), attempts=2, countdown=0, reason="y")

    assert not engine.store.defer(first, attempts=1, countdown=0, reason="x")


def test_a_commit_after_the_record_has_expired_leaves_nothing_behind(engine):
    header = engine.record(plan("a"))
    claim = engine.claim(header, "a")
    engine.client.delete(engine.keys.run(header.run).run)

    assert engine.store.commit(claim, SUCCEEDED) is None
    assert engine.store.defer(claim, attempts=1, countdown=1, reason="x") is False
    assert not engine.client.exists(engine.keys.run(header.run).run)


def test_a_price_that_is_not_known_makes_the_cost_of_the_run_unknown(engine):
    header = engine.record(plan("a", "b"))
    engine.finish_step(header, "a", Outcome("succeeded", 1, {}, cost_nanos=5))
    engine.finish_step(header, "b", Outcome("succeeded", 1, {}, cost_nanos=None))

    assert engine.history.document(header.run)["estimated_cost"] is None


# deferring


def test_a_deferred_step_gives_its_claim_back_and_says_when_it_may_go_on(engine):
    header = engine.record(plan("a"))
    claim = engine.claim(header, "a")

    assert engine.store.defer(claim, attempts=1, countdown=20, reason="overloaded", lost_calls=1)

    assert engine.field(header.run, "running") == "0"
    assert engine.client.zcard(engine.keys.claims) == 0
    (member, due), *_ = engine.client.zrange(engine.keys.due, 0, -1, withscores=True)
    assert member == f"{header.run}\ta"
    assert due == pytest.approx(engine.client.time()[0] + 20, abs=2)
    event = engine.history.events(header.run)[-1]
    assert (event.type, event.data["reason"], event.data["countdown"]) == (
        "step.retrying",
        "overloaded",
        "20",
    )
    assert engine.field(header.run, "lost_calls") == "1"


def test_deferring_with_a_stale_fence_changes_nothing(engine):
    header = engine.record(plan("a"))
    claim = engine.claim(header, "a")
    engine.store.commit(claim, SUCCEEDED)

    assert engine.store.defer(claim, attempts=1, countdown=1, reason="x") is False
    assert engine.state(header.run, "a")["s"] == "succeeded"
    assert engine.client.zcard(engine.keys.due) == 0


def test_a_step_that_goes_on_is_no_longer_due(engine):
    header = engine.record(plan("a"))
    engine.store.defer(engine.claim(header, "a"), attempts=1, countdown=0, reason="x")

    engine.claim(header, "a")

    assert engine.client.zcard(engine.keys.due) == 0


def test_attempts_count_over_all_workers(engine):
    header = engine.record(plan("a"))
    for attempt in (1, 2):
        engine.store.defer(engine.claim(header, "a"), attempts=attempt, countdown=0, reason="x")

    assert engine.claim(header, "a").attempts == 2


# finishing


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        ([SUCCEEDED, SUCCEEDED], "succeeded"),
        ([SUCCEEDED, FAILED], "failed"),
        ([SUCCEEDED, Outcome("failed", 1, {})], "succeeded"),  # a failure that is allowed
        ([FAILED, Outcome("skipped", 0, {})], "failed"),
    ],
)
def test_a_run_fails_when_a_step_failed_that_may_not(engine, outcomes, status):
    header = engine.record(plan("a", "b"))
    for id, outcome in zip("ab", outcomes, strict=True):
        engine.finish_step(header, id, outcome)

    assert engine.store.finish(header.run, 1) == ("ended", status)
    assert engine.history.status(header.run) == status
    assert engine.client.zcard(engine.keys.active) == 0


def test_a_run_ends_once(engine):
    header = ended_run(engine, plan("a"), SUCCEEDED)

    assert engine.store.finish(header.run, 1) == ("already", "succeeded")
    assert [e.type for e in engine.history.events(header.run)].count("run.finished") == 1


def test_a_run_with_steps_left_does_not_end(engine):
    header = engine.record(plan("a", "b"))
    engine.finish_step(header, "a")

    assert engine.store.finish(header.run, 1) == ("early", "running")


def test_a_stopping_run_ends_when_no_call_is_in_flight(engine):
    header = engine.record(plan("a", "b"))
    claim = engine.claim(header, "a")
    engine.store.stop(header.run, "cancelled")

    assert engine.store.finish(header.run, 1)[0] == "busy"
    engine.store.commit(claim, Outcome("cancelled", 1, {}))
    assert engine.store.finish(header.run, 1) == ("ended", "cancelled")


@pytest.mark.parametrize(("reason", "status"), [("cancelled", "cancelled"), ("timeout", "failed")])
@pytest.mark.parametrize("all_done", [True, False])
def test_a_run_that_was_stopped_ends_as_the_reason_says(engine, reason, status, all_done):
    header = engine.record(plan("a", "b"))
    engine.finish_step(header, "a")
    if all_done:
        engine.finish_step(header, "b")
    engine.store.stop(header.run, reason)

    assert engine.store.finish(header.run, 1) == ("ended", status)


def test_a_run_of_another_attempt_does_not_end(engine):
    header = engine.record(plan("a"))

    assert engine.store.finish(header.run, 2)[0] == "stale"


def test_a_run_that_nobody_knows_is_taken_off_the_list(engine):
    engine.client.zadd(engine.keys.active, {"nobody": 1})

    assert engine.store.finish("nobody", 1) == ("gone", "")
    assert engine.client.zcard(engine.keys.active) == 0


# stopping


def test_the_first_reason_to_stop_stands(engine):
    header = engine.record(plan("a"))
    engine.claim(header, "a")

    assert engine.store.stop(header.run, "timeout") == ("stopping", 1, 1)
    assert engine.store.stop(header.run, "cancelled") == ("stopping", 1, 1)
    assert engine.field(header.run, "stopping") == "timeout"
    assert [e.type for e in engine.history.events(header.run)].count("run.stopping") == 1


def test_a_run_that_has_ended_is_not_stopped(engine):
    header = ended_run(engine, plan("a"), SUCCEEDED)

    assert engine.store.stop(header.run, "cancelled")[0] == "finished"
    assert engine.history.status(header.run) == "succeeded"


def test_stopping_an_unknown_run_is_an_error(engine):
    with pytest.raises(UnknownRunError, match="'nobody'"):
        engine.store.stop("nobody", "cancelled")


# reopening


def test_a_reopened_run_keeps_what_succeeded_and_forgets_the_rest(engine):
    header = ended_run(engine, diamond(), SUCCEEDED, SUCCEEDED, FAILED, Outcome("skipped", 0, {}))

    attempt = engine.store.reopen(header.run)

    again = engine.store.header(header.run, attempt)
    assert (attempt, again.kept) == (2, frozenset({"start", "left"}))
    document = engine.history.document(header.run)
    assert document["status"] == "pending"
    assert document["execution_order"] == ["start", "left"]
    assert (document["steps_left"], document["steps_running"]) == (2, 0)
    statuses = [result["status"] for result in document["results"].values()]
    assert statuses == ["succeeded", "succeeded", "waiting", "waiting"]
    assert document["finished_at"] is None
    assert engine.client.zscore(engine.keys.active, header.run) == float("inf")


def test_a_reopened_run_can_succeed(engine):
    header = ended_run(engine, diamond(), SUCCEEDED, SUCCEEDED, FAILED, Outcome("skipped", 0, {}))
    again = engine.store.header(header.run, engine.store.reopen(header.run))

    assert engine.claim(again, "left").verdict == "done"
    engine.finish_step(again, "right")
    claim = engine.claim(again, "end")
    assert claim.outputs == ("fine", "fine")
    engine.store.commit(claim, SUCCEEDED)
    assert engine.store.finish(header.run, 2) == ("ended", "succeeded")


def test_fences_of_a_reopened_run_are_newer_than_all_before(engine):
    header = ended_run(engine, plan("a"), FAILED)
    again = engine.store.header(header.run, engine.store.reopen(header.run))

    assert engine.claim(again, "a").fence == 2


@pytest.mark.parametrize(
    ("outcomes", "why"), [((), "is still active"), ((SUCCEEDED,), "has succeeded: there is nothing to retry")]
)
def test_a_run_that_is_active_or_has_succeeded_is_not_reopened(engine, outcomes, why):
    header = ended_run(engine, plan("a"), *outcomes)

    with pytest.raises(InputError, match=why):
        engine.store.reopen(header.run)
    assert engine.store.current_attempt(header.run) == 1


def test_reopening_an_unknown_run_is_an_error(engine):
    with pytest.raises(UnknownRunError):
        engine.store.reopen("nobody")


def test_a_reopened_run_has_its_whole_time_out_again(engine, server_time):
    header = engine.record(plan("a"), timeout_seconds=60)
    engine.finish_step(header, "a", FAILED)
    engine.store.finish(header.run, 1)
    server_time.advance(1000)

    engine.store.reopen(header.run)

    deadline = engine.client.zscore(engine.keys.active, header.run)
    assert deadline == pytest.approx(server_time.now() + 60, abs=2)


# lifetimes


def test_every_key_of_an_active_run_outlives_the_longest_run(engine):
    header = engine.record(plan("a", "b"))
    engine.finish_step(header, "a")

    ttls = [engine.client.ttl(key) for key in engine.keys.run(header.run).all()]

    assert ttls == [pytest.approx(30 * DAY, abs=5)] * 6


def test_every_key_of_a_run_that_has_ended_stays_for_the_retention(engine):
    header = ended_run(engine, plan("a"), SUCCEEDED)

    ttls = [engine.client.ttl(key) for key in engine.keys.run(header.run).all()]

    assert ttls == [pytest.approx(7 * DAY, abs=5)] * 6


def test_nothing_of_a_run_is_left_after_its_retention(engine, server_time):
    header = engine.record(plan("a", step("b", "a")), idempotency_key="k", timeout_seconds=60)
    engine.finish_step(header, "a")
    engine.store.defer(engine.claim(header, "b"), attempts=1, countdown=0, reason="x")
    engine.finish_step(header, "b")
    engine.store.finish(header.run, 1)
    engine.launcher.forget(header)

    server_time.advance(7 * DAY + 10)

    left = set(engine.client.scan_iter())
    assert left == {engine.keys.runs, engine.keys.idempotency("k")}
    server_time.advance(23 * DAY)
    engine.store.start(NewRun(run="next", kind="workflow", plan=plan("z")))
    assert engine.client.zrange(engine.keys.runs, 0, -1) == ["next"]
    assert not engine.client.exists(engine.keys.idempotency("k"))


def test_a_run_that_is_reopened_is_kept_like_an_active_one(engine):
    header = ended_run(engine, plan("a", "b"), SUCCEEDED, FAILED)
    engine.store.reopen(header.run)

    keys = [key for key in engine.keys.run(header.run).all() if engine.client.exists(key)]
    assert all(engine.client.ttl(key) > 29 * DAY for key in keys)


# starting


def test_a_second_start_with_the_same_idempotency_key_is_the_first_one(engine):
    first = engine.record(plan("a"), run="one", idempotency_key="pr-812")
    second = engine.record(plan("a"), run="two", idempotency_key="pr-812")
    other = engine.record(plan("a"), run="three", idempotency_key="pr-813")

    assert [first.run, second.run, other.run] == ["one", "one", "three"]
    assert not engine.client.exists(engine.keys.run("two").run)
    assert engine.client.zcard(engine.keys.active) == 2


def test_an_idempotency_key_of_a_run_that_is_no_longer_kept_starts_a_new_one(engine, server_time):
    header = engine.record(plan("a"), run="one", idempotency_key="nightly")
    engine.finish_step(header, "a")
    engine.store.finish("one", 1)
    server_time.advance(8 * DAY)

    assert engine.record(plan("a"), run="two", idempotency_key="nightly").run == "two"
    assert engine.record(plan("a"), run="three", idempotency_key="nightly").run == "two"


def test_starting_the_same_run_twice_changes_nothing(engine):
    header = engine.record(plan("a", "b"))
    engine.finish_step(header, "a")

    engine.store.start(NewRun(run=header.run, kind="workflow", plan=header.plan))

    assert engine.field(header.run, "left") == "1"


def test_the_header_says_what_was_asked_for(engine):
    header = engine.record(
        plan("a"), task="look at src/", inputs={"k": "v"}, options={"n": 1}, message={"task": "t"}
    )

    assert (header.task, header.inputs, header.options) == ("look at src/", {"k": "v"}, {"n": 1})
    assert header.message == {"task": "t"}
    assert header.plan == plan("a")


@pytest.mark.parametrize("task", [None, ""])
def test_no_task_and_an_empty_one_are_two_things(engine, task):
    assert engine.record(plan("a"), task=task).task == task


def test_the_header_of_an_unknown_run_or_attempt_is_an_error(engine):
    header = engine.record(plan("a"))

    for run, attempt in (("nobody", 1), (header.run, 2)):
        with pytest.raises(UnknownRunError):
            engine.store.header(run, attempt)
    with pytest.raises(UnknownRunError):
        engine.store.current_attempt("nobody")
