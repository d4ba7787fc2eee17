"""A step is taken on by one worker at a time, and only when its turn has come."""

import json

import pytest

from cf_workers.workflows.outcome import Outcome
from tests.support.engine import FAILED, SUCCEEDED, diamond, plan, step

LEASE = 8.0


def go_silent(engine, claim, seconds=LEASE + 1):
    """The worker that holds a claim stops renewing it."""
    last = engine.client.zscore(engine.keys.claims, claim.member)
    engine.client.zadd(engine.keys.claims, {claim.member: last - seconds})


def die_under(engine, header, id, times):
    """Workers take a step on, one after the other, and die."""
    for n in range(times):
        go_silent(engine, engine.claim(header, id, f"w{n}", may_take_over=True))


def test_a_step_that_waits_for_nothing_is_run(engine):
    header = engine.record(plan("a"))

    claim = engine.claim(header, "a", "w1")

    assert (claim.verdict, claim.fence, claim.attempts, claim.deaths) == ("run", 1, 0, 0)
    assert engine.state(header.run, "a")["s"] == "running"
    assert engine.state(header.run, "a")["w"] == "w1"
    assert engine.field(header.run, "running") == "1"
    assert engine.field(header.run, "status") == "running"
    assert engine.client.zrange(engine.keys.claims, 0, -1) == [f"{header.run}\ta\t1"]


def test_fences_grow_over_all_steps_of_a_run(engine):
    header = engine.record(plan("a", "b", "c"))

    assert [engine.claim(header, id).fence for id in "bca"] == [1, 2, 3]


def test_a_run_starts_once_however_many_steps_it_has(engine):
    header = engine.record(plan("a", "b"))

    engine.claim(header, "a")
    engine.claim(header, "b")

    kinds = [event.type for event in engine.history.events(header.run)]
    assert kinds == ["run.created", "run.started", "step.started", "step.started"]


def test_a_step_in_the_hands_of_a_living_worker_is_held(engine):
    header = engine.record(plan("a"))
    first = engine.claim(header, "a", "w1")

    second = engine.claim(header, "a", "w2", may_take_over=True)

    assert (second.verdict, second.fence) == ("held", first.fence)
    assert engine.field(header.run, "running") == "1"


def test_a_silent_worker_keeps_its_step_while_nobody_may_say_that_it_is_dead(engine):
    header = engine.record(plan("a"))
    go_silent(engine, engine.claim(header, "a", "w1"))

    assert engine.claim(header, "a", "w2", may_take_over=False).verdict == "held"


def test_a_step_of_a_dead_worker_is_taken_over_with_a_newer_fence(engine):
    header = engine.record(plan("a"))
    first = engine.claim(header, "a", "w1")
    go_silent(engine, first)

    second = engine.claim(header, "a", "w2", may_take_over=True)

    assert (second.verdict, second.fence, second.deaths) == ("run", first.fence + 1, 1)
    assert engine.client.zrange(engine.keys.claims, 0, -1) == [second.member]
    assert engine.field(header.run, "running") == "1"


def test_a_claim_that_the_server_forgot_counts_as_dead(engine):
    header = engine.record(plan("a"))
    engine.client.zrem(engine.keys.claims, engine.claim(header, "a", "w1").member)

    assert engine.claim(header, "a", "w2", may_take_over=True).verdict == "run"


def test_each_death_is_a_call_that_may_have_been_paid_for_nothing(engine):
    header = engine.record(plan("a"))

    die_under(engine, header, "a", 2)
    engine.claim(header, "a", "w9", may_take_over=True)

    assert engine.field(header.run, "lost_calls") == "2"
    assert engine.client.hget(engine.keys.counters, "lost_calls") == "2"
    assert engine.history.document(header.run)["results"]["a"]["deaths"] == 2


def test_a_step_that_killed_too_many_workers_is_lost(engine):
    header = engine.record(plan("a"))
    die_under(engine, header, "a", 3)

    claim = engine.claim(header, "a", "w9", may_take_over=True)

    assert (claim.verdict, claim.deaths) == ("lost", 3)
    assert engine.store.commit(claim, FAILED).left == 0


def test_a_step_that_has_ended_is_done(engine):
    header = engine.record(plan("a", "b"))
    engine.finish_step(header, "a")

    again = engine.claim(header, "a", "w2", may_take_over=True)

    assert (again.verdict, again.attempts) == ("done", 1)


@pytest.mark.parametrize("ended", ["succeeded", "failed", "skipped", "cancelled"])
def test_every_way_to_end_is_final(engine, ended):
    header = engine.record(plan("a", "b"))
    engine.finish_step(header, "a", Outcome(ended, 1, {}))

    assert engine.claim(header, "a").verdict == "done"


def test_a_step_whose_dependencies_have_not_ended_is_early(engine):
    header = engine.record(diamond())
    engine.finish_step(header, "start")
    engine.finish_step(header, "left")

    assert engine.claim(header, "end").verdict == "early"
    engine.claim(header, "right")
    assert engine.claim(header, "end").verdict == "early"
    assert engine.state(header.run, "end") == {}


def test_a_step_whose_dependency_failed_is_skipped(engine):
    header = engine.record(plan("a", step("b", "a")))
    engine.finish_step(header, "a", FAILED)

    assert engine.claim(header, "b").verdict == "skip"


@pytest.mark.parametrize("ended", ["failed", "skipped", "cancelled"])
def test_a_step_with_the_rule_all_done_runs_however_its_dependencies_ended(engine, ended):
    header = engine.record(plan("a", "b", step("c", "a", "b", rule="all_done")))
    engine.finish_step(header, "a", Outcome(ended, 1, {}))

    assert engine.claim(header, "c").verdict == "early"
    engine.finish_step(header, "b")
    assert engine.claim(header, "c").verdict == "run"


def test_a_failed_dependency_does_not_skip_a_step_before_the_others_have_ended(engine):
    header = engine.record(plan("a", "b", step("c", "b", "a")))
    engine.finish_step(header, "a", FAILED)

    assert engine.claim(header, "c").verdict == "early"


def test_a_step_of_a_stopping_run_is_cancelled_whatever_it_waits_for(engine):
    header = engine.record(diamond())
    engine.claim(header, "start")

    engine.store.stop(header.run, "cancelled")

    assert engine.claim(header, "end").verdict == "cancel"


def test_a_step_that_waits_for_its_next_attempt_is_waiting_until_then(engine, server_time):
    header = engine.record(plan("a"))
    engine.store.defer(engine.claim(header, "a"), attempts=1, countdown=30, reason="overloaded")

    assert engine.claim(header, "a").verdict == "waiting"
    server_time.advance(29.5)  # clocks differ: a little early is allowed
    claim = engine.claim(header, "a")
    assert (claim.verdict, claim.attempts) == ("run", 1)


def test_a_stopping_run_does_not_wait_for_a_retry_to_be_due(engine):
    header = engine.record(plan("a"))
    engine.store.defer(engine.claim(header, "a"), attempts=1, countdown=300, reason="overloaded")
    engine.store.stop(header.run, "cancelled")

    assert engine.claim(header, "a").verdict == "cancel"


def test_there_is_nothing_to_do_once_the_run_is_over(engine):
    header = engine.record(plan("a"))
    engine.store.defer(engine.claim(header, "a"), attempts=1, countdown=0, reason="overloaded")
    engine.store.stop(header.run, "cancelled")
    engine.store.finish(header.run, 1)

    assert engine.claim(header, "a").verdict == "over"
    assert engine.client.zcard(engine.keys.due) == 0


def test_a_message_of_an_earlier_attempt_is_stale(engine):
    header = engine.record(plan("a"))
    engine.finish_step(header, "a", FAILED)
    engine.store.finish(header.run, 1)
    engine.store.reopen(header.run)

    assert engine.claim(header, "a").verdict == "stale"


def test_a_stale_message_does_not_make_the_present_attempt_forget_a_retry(engine):
    header = engine.record(plan("a"))
    engine.finish_step(header, "a", FAILED)
    engine.store.finish(header.run, 1)
    again = engine.store.header(header.run, engine.store.reopen(header.run))
    engine.store.defer(engine.claim(again, "a"), attempts=1, countdown=30, reason="overloaded")

    engine.claim(header, "a")

    assert engine.client.zrange(engine.keys.due, 0, -1) == [f"{header.run}\ta"]


def test_a_message_of_a_run_that_nobody_knows_any_more_is_gone(engine):
    header = engine.record(plan("a"))
    engine.client.delete(*engine.keys.run(header.run).all())

    assert engine.claim(header, "a").verdict == "gone"
    assert engine.client.exists(*engine.keys.run(header.run).all()) == 0


def test_a_run_of_a_newer_release_is_left_alone(engine):
    header = engine.record(plan("a"))
    engine.client.hset(engine.keys.run(header.run).run, "version", 99)

    assert engine.claim(header, "a").verdict == "wire"
    assert engine.state(header.run, "a") == {}


def test_a_claim_brings_the_outputs_of_the_dependencies_in_their_order(engine):
    header = engine.record(plan("a", "b", "c", step("d", "c", "a", "b", rule="all_done")))
    for id, outcome in (
        ("a", Outcome("succeeded", 1, {}, "from a")),
        ("b", Outcome("succeeded", 1, {}, "from b")),
        ("c", FAILED),
    ):
        engine.finish_step(header, id, outcome)

    assert engine.claim(header, "d").outputs == (None, "from a", "from b")


def test_a_step_that_sees_no_outputs_gets_none(engine):
    header = engine.record(plan("a", step("b", "a", passes=False)))
    engine.finish_step(header, "a", SUCCEEDED)

    assert engine.claim(header, "b").outputs == ()


@pytest.mark.parametrize("id", ["a", "step-1", "a.b_c"])
def test_a_claim_is_listed_under_run_step_and_fence(engine, id):
    header = engine.record(plan(id))

    claim = engine.claim(header, id)

    assert claim.member == f"{header.run}\t{id}\t1"
    assert json.loads(engine.client.hget(engine.keys.run(header.run).steps, id))["f"] == claim.fence


# claims that were granted and not heard of


def ask_again(engine, header, id, worker="w1", nonce="n1", **more):
    return engine.store.claim(
        header, header.plan.by_id[id], worker, **{"may_take_over": True, **more}, nonce=nonce
    )


def test_a_claim_whose_answer_was_lost_is_granted_again_as_it_was(engine):
    header = engine.record(diamond())
    engine.finish_step(header, "start")

    first = ask_again(engine, header, "left")
    second = ask_again(engine, header, "left")

    assert first == second
    assert (second.verdict, second.outputs, second.deaths) == ("run", ("fine",), 0)
    assert engine.field(header.run, "running") == "1"
    assert engine.field(header.run, "lost_calls") is None
    assert [event.type for event in engine.history.events(header.run)].count("step.started") == 2


def test_another_wish_of_the_same_worker_finds_the_step_held(engine):
    header = engine.record(plan("a"))
    ask_again(engine, header, "a")

    assert ask_again(engine, header, "a", nonce="n2").verdict == "held"


def test_without_a_nonce_nothing_is_granted_again(engine):
    header = engine.record(plan("a"))
    ask_again(engine, header, "a", nonce="")

    assert ask_again(engine, header, "a", nonce="").verdict == "held"


def test_the_verdict_that_a_step_is_lost_is_given_again(engine):
    header = engine.record(plan("a"))
    die_under(engine, header, "a", 3)

    verdicts = [ask_again(engine, header, "a").verdict for _ in range(2)]

    assert verdicts == ["lost", "lost"]
    assert engine.field(header.run, "lost_calls") == "3"


def test_a_claim_names_the_workers_that_died_under_the_step(engine):
    header = engine.record(plan("a"))
    die_under(engine, header, "a", 2)

    assert engine.claim(header, "a", "w9", may_take_over=True).dead == ("w0", "w1")
