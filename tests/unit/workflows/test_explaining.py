"""A person who asks why nothing happens is told, for each step, what it waits for."""

import pytest

from cf_workers.errors import UnknownRunError
from cf_workers.wire import QUEUES
from cf_workers.workflows.explaining import Fleet, explain
from cf_workers.workflows.plan import FINISH
from tests.support.engine import FAILED, diamond, plan, step

ALL_SERVED = Fleet(listeners=dict.fromkeys(QUEUES, 2), lengths={"interactive": 7})
NOBODY = Fleet()


@pytest.fixture
def waits(engine):
    def waits_of(header, fleet=ALL_SERVED):
        found = explain(engine.client, engine.keys, engine.definitions, header.run, fleet)
        return {wait.step: wait for wait in found.waits}

    return waits_of


def test_a_step_waits_for_the_dependencies_that_have_not_ended(engine, waits):
    header = engine.record(diamond())
    engine.finish_step(header, "start")
    engine.finish_step(header, "left")

    found = waits(header)

    assert list(found) == ["right", "end"]
    assert (found["end"].blocker, found["end"].steps) == ("dependencies", ("right",))
    assert found["end"].says == "the end of right"
    assert found["end"].seconds is None


def test_of_very_many_dependencies_a_few_are_named(engine, waits):
    names = [f"s{n}" for n in range(9)]
    header = engine.record(plan(*names, step("end", *names)))

    end = waits(header)["end"]

    assert end.steps == tuple(names)
    assert end.says == "the end of s0, s1, s2, s3, s4 and 4 more"


def test_a_step_that_is_ready_lies_in_its_queue(engine, waits):
    header = engine.record(plan(step("a"), step("b", lane="background")))

    found = waits(header)

    assert (found["a"].blocker, found["a"].queue) == ("queue", "interactive")
    assert "of 7 that wait there; 2 workers take from it" in found["a"].says
    assert found["b"].queue == "batch"


def test_a_queue_without_a_worker_is_the_blocker(engine, waits):
    header = engine.record(plan(step("a", lane="batch")))

    found = waits(header, Fleet(listeners={"interactive": 1, "control": 1}))

    assert found["a"].blocker == "no_worker"
    assert "queue 'batch', and no worker takes from that" in found["a"].says


def test_a_step_that_runs_names_its_worker_and_for_how_long(engine, waits, server_time):
    header = engine.record(plan("a"))
    engine.claim(header, "a", worker="host:1:x")
    server_time.advance(3)

    found = waits(header)["a"]

    assert (found.status, found.blocker, found.worker) == ("running", "worker", "host:1:x")
    assert found.says.endswith("has been at it for 3 s, an attempt may take 10 s")


def test_a_worker_that_is_late_with_its_heartbeat_is_told(engine, waits, server_time):
    header = engine.record(plan("a"))
    engine.claim(header, "a")
    server_time.advance(6)

    assert waits(header)["a"].blocker == "worker"
    assert "it was last heard of 6 s ago" in waits(header)["a"].says


def test_a_claim_that_nobody_renews_is_taken_over(engine, waits, server_time):
    header = engine.record(plan("a"))
    engine.claim(header, "a", worker="host:1:x")
    server_time.advance(60)

    assert waits(header)["a"].blocker == "lost_worker"
    assert "host:1:x was not heard of for 60 s; another one takes the step over" in waits(header)["a"].says
    assert "no worker is alive" in waits(header, NOBODY)["a"].says


def test_a_parked_step_says_why_and_until_when(engine, waits, server_time):
    header = engine.record(plan("a"))
    engine.store.park(engine.claim(header, "a"), countdown=30, reason="the circuit breaker is open")
    server_time.advance(10)

    found = waits(header)["a"]

    assert (found.status, found.blocker, found.says) == ("parked", "parked", "the circuit breaker is open")
    assert found.seconds == pytest.approx(20, abs=0.01)
    assert found.until == pytest.approx(server_time.now() + 20, abs=0.01)


def test_the_newest_reason_counts(engine, waits, server_time):
    header = engine.record(plan("a"))
    engine.store.park(engine.claim(header, "a"), countdown=1, reason="others wait already")
    server_time.advance(2)
    engine.store.park(engine.claim(header, "a"), countdown=1, reason="the same call is under way")

    assert waits(header)["a"].says == "the same call is under way"


def test_what_is_due_waits_for_any_worker(engine, waits, server_time):
    header = engine.record(plan("a"))
    engine.store.park(engine.claim(header, "a"), countdown=1, reason="others wait already")
    server_time.advance(5)

    assert waits(header)["a"].seconds == 0
    assert waits(header)["a"].says == "others wait already"
    assert "no worker is alive" in waits(header, NOBODY)["a"].says


def test_a_step_between_two_attempts_says_what_failed_and_when_it_is_tried_again(engine, waits):
    header = engine.record(plan("a"))
    engine.store.defer(engine.claim(header, "a"), attempts=1, countdown=4, reason="529 overloaded")

    found = waits(header)["a"]

    assert (found.status, found.blocker) == ("retrying", "retry")
    assert found.says == "its next attempt; attempt 1: 529 overloaded"
    assert 3 < found.seconds <= 4


def test_a_step_that_can_no_longer_run_is_told_so(engine, waits):
    header = engine.record(plan("a", step("b", "a")))
    engine.finish_step(header, "a", FAILED)

    assert waits(header)["b"].says.startswith("to be skipped, since a dependency did not succeed")


def test_steps_of_a_run_that_stops_are_not_started(engine, waits):
    header = engine.record(diamond())
    engine.claim(header, "start")
    engine.store.stop(header.run, "cancelled")

    found = waits(header)

    assert found["start"].blocker == "worker"
    assert found["end"].blocker == "stopping"


def test_when_all_steps_have_ended_the_run_waits_for_its_end(engine, waits):
    header = engine.record(plan("a"))
    engine.finish_step(header, "a")

    assert waits(header)[FINISH].queue == "control"


def test_a_run_that_has_ended_waits_for_nothing(engine, waits):
    header = engine.record(plan("a"))
    engine.finish_step(header, "a")
    engine.store.finish(header.run, 1)

    found = explain(engine.client, engine.keys, engine.definitions, header.run, ALL_SERVED)

    assert (found.status, found.waits) == ("succeeded", ())


def test_steps_in_sequence_wait_for_the_one_before(engine, waits):
    header = engine.record(plan("a", step("b", after=("a",))))

    assert waits(header)["b"].steps == ("a",)


def test_an_unknown_run_is_an_error(engine):
    with pytest.raises(UnknownRunError):
        explain(engine.client, engine.keys, engine.definitions, "nothing", ALL_SERVED)
