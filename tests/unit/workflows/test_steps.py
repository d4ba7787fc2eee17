"""A step ends once, or gives its claim back; all of that is written at once, or nothing."""

import pytest

from cf_workers.workflows.outcome import Outcome
from tests.support.engine import FAILED, SUCCEEDED, plan

DAY = 86_400


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
