"""A run starts once and ends once; what stays and for how long is known."""

import pytest

from cf_workers.errors import InputError, UnknownRunError
from cf_workers.workflows.outcome import Outcome
from cf_workers.workflows.record import NewRun
from tests.support.engine import FAILED, SUCCEEDED, diamond, plan, step

DAY = 86_400


def ended_run(engine, of, *outcomes):
    """A run whose steps ended as given, in the plan's order."""
    header = engine.record(of)
    for one, outcome in zip(of.steps, outcomes, strict=False):
        engine.finish_step(header, one.id, outcome)
    engine.store.finish(header.run, 1)
    return header


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
