"""A claim lives only while its worker renews it, and nobody is called dead who could not have renewed."""

import logging

import pytest

from cf_workers._redis import Keys
from cf_workers.workflows.liveness import Heartbeat, LivenessPolicy, live_workers
from cf_workers.workflows.outcome import Outcome
from tests.support import eventually
from tests.support.engine import Engine, FakeServer, fake_client, plan

POLICY = LivenessPolicy(heartbeat_seconds=2.0, lease_seconds=8.0)
LONG_AGO = 1_000_000


class Stopwatch:
    """The monotonic clock of a process, moved by the test."""

    def __init__(self) -> None:
        self.seconds = 50.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def server():
    """A fake server that has been up for long."""
    made = FakeServer()
    made.started_at -= LONG_AGO
    return made


@pytest.fixture
def engine(server):
    made = Engine(client=fake_client(server))
    yield made
    made.close()


@pytest.fixture
def clock():
    return Stopwatch()


@pytest.fixture
def heartbeat(engine, clock):
    return worker(engine, "w1", clock)


def worker(engine, name, clock, policy=POLICY):
    return Heartbeat(
        engine.client,
        engine.keys,
        worker=name,
        about=lambda: {"worker": name, "queues": ["batch"]},
        policy=policy,
        clock=clock,
    )


def holding(engine, heartbeat, header, id="a"):
    """A claim that the heartbeat renews, and the list of reasons for which it was told to stop."""
    claim, reasons = engine.claim(header, id, heartbeat.worker), []
    return claim, reasons, heartbeat.holding(claim, reasons.append)


def renewed_at(engine, claim):
    return engine.client.zscore(engine.keys.claims, claim.member)


# renewing


def test_a_heartbeat_renews_exactly_the_claims_that_are_worked_on(engine, heartbeat, server_time):
    header = engine.record(plan("a", "b"))
    mine, _, held = holding(engine, heartbeat, header)
    other = engine.claim(header, "b", "w1")
    before = renewed_at(engine, other)
    server_time.advance(5)

    with held:
        heartbeat.beat()
        assert heartbeat.held == 1

    assert renewed_at(engine, mine) == pytest.approx(server_time.now(), abs=1)
    assert renewed_at(engine, other) == before
    assert heartbeat.held == 0


def test_a_claim_is_not_renewed_after_its_work_has_ended(engine, heartbeat, server_time):
    header = engine.record(plan("a"))
    claim, _, held = holding(engine, heartbeat, header)
    with held:
        pass
    before = renewed_at(engine, claim)
    server_time.advance(5)

    heartbeat.beat()

    assert renewed_at(engine, claim) == before


def test_a_heartbeat_never_brings_back_a_claim_that_is_gone(engine, heartbeat):
    header = engine.record(plan("a"))
    claim, _, held = holding(engine, heartbeat, header)
    with held:
        engine.client.zrem(engine.keys.claims, claim.member)
        heartbeat.beat()

    assert engine.client.zcard(engine.keys.claims) == 0


def test_a_worker_whose_claim_was_taken_over_is_told_to_stop(engine, heartbeat, server_time, caplog):
    header = engine.record(plan("a"))
    _, reasons, held = holding(engine, heartbeat, header)
    with held, caplog.at_level(logging.WARNING):
        server_time.advance(9)
        assert engine.claim(header, "a", "w2", may_take_over=True).verdict == "run"
        heartbeat.beat()

    assert reasons == ["superseded"]
    assert f"claim.superseded run={header.run} step=a" in caplog.text


@pytest.mark.parametrize("reason", ["cancelled", "timeout"])
def test_every_step_of_a_stopping_run_is_told_why_and_no_other(engine, heartbeat, reason):
    stopping, other = engine.record(plan("a", "b")), engine.record(plan("a"))
    _, first, held_first = holding(engine, heartbeat, stopping, "a")
    _, second, held_second = holding(engine, heartbeat, stopping, "b")
    _, third, held_third = holding(engine, heartbeat, other)
    engine.store.stop(stopping.run, reason)

    with held_first, held_second, held_third:
        heartbeat.beat()

    assert (first, second, third) == ([reason], [reason], [])


def test_nobody_is_told_to_stop_while_all_is_well(engine, heartbeat):
    _, reasons, held = holding(engine, heartbeat, engine.record(plan("a")))

    with held:
        heartbeat.beat()
        heartbeat.beat()

    assert reasons == []


def test_a_step_that_failed_by_an_exception_is_no_longer_held(engine, heartbeat):
    _, _, held = holding(engine, heartbeat, engine.record(plan("a")))

    with pytest.raises(LookupError), held:
        raise LookupError

    assert heartbeat.held == 0


# taking over


def test_nobody_may_take_over_before_the_first_heartbeat(heartbeat):
    assert not heartbeat.may_take_over


def test_a_worker_that_joins_a_server_which_has_long_been_up_may_take_over_at_once(heartbeat):
    heartbeat.beat()

    assert heartbeat.may_take_over


def test_after_a_restart_of_the_server_nobody_is_dead_for_one_lease(engine, server, heartbeat, clock):
    heartbeat.beat()
    clock.seconds += 2
    server.started_at += LONG_AGO  # it has just come back
    heartbeat.beat()

    assert not heartbeat.may_take_over
    for _ in range(3):
        clock.seconds += 2
        server.started_at -= 2
        heartbeat.beat()
        assert not heartbeat.may_take_over
    clock.seconds += 2.1
    assert heartbeat.may_take_over


def test_a_worker_that_joins_a_server_which_has_just_started_waits_for_one_lease(server, heartbeat, clock):
    server.started_at += LONG_AGO
    heartbeat.beat()

    assert not heartbeat.may_take_over
    clock.seconds += 8
    assert heartbeat.may_take_over


def test_after_a_late_heartbeat_nobody_is_dead_for_one_lease(heartbeat, clock):
    """Whatever kept this worker from the server may have kept the others from it as well."""
    heartbeat.beat()
    clock.seconds += 5.1
    heartbeat.beat()

    assert not heartbeat.may_take_over
    clock.seconds += 8
    assert heartbeat.may_take_over


def test_a_heartbeat_that_is_a_little_late_changes_nothing(heartbeat, clock):
    heartbeat.beat()
    clock.seconds += 4.9
    heartbeat.beat()

    assert heartbeat.may_take_over


def test_while_the_server_is_away_heartbeats_fail_and_nobody_may_be_taken_over(engine, server, clock):
    heartbeat = worker(engine, "w1", clock, LivenessPolicy(heartbeat_seconds=0.01, lease_seconds=8))
    heartbeat.start()
    assert heartbeat.may_take_over
    try:
        server.connected = False
        eventually(lambda: heartbeat.failures > 1, "two failed heartbeats")
        assert not heartbeat.may_take_over

        server.connected = True
        failures = heartbeat.failures
        eventually(lambda: heartbeat._steady_since is not None, "a heartbeat that succeeds")
        assert not heartbeat.may_take_over
        clock.seconds += 0.02
        eventually(lambda: heartbeat._last_beat == clock.seconds, "another heartbeat")
        assert heartbeat.failures == failures
    finally:
        server.connected = True
        heartbeat.stop()


# who lives


def test_a_worker_says_of_itself_what_it_is(engine, heartbeat):
    heartbeat.beat()

    assert live_workers(engine.client, engine.keys, POLICY) == [{"worker": "w1", "queues": ["batch"]}]


def test_a_worker_that_was_not_heard_of_for_a_lease_does_not_live(engine, heartbeat, clock, server_time):
    heartbeat.beat()
    server_time.advance(5)
    worker(engine, "w2", clock).beat()
    server_time.advance(4)

    assert [one["worker"] for one in live_workers(engine.client, engine.keys, POLICY)] == ["w2"]


def test_a_worker_that_stops_is_off_the_list_at_once(engine, heartbeat):
    heartbeat.beat()

    heartbeat.stop()

    assert live_workers(engine.client, engine.keys) == []
    assert not engine.client.exists(engine.keys.worker("w1"))


def test_dead_workers_are_forgotten(engine, heartbeat, clock, server_time):
    heartbeat.beat()
    server_time.advance(3601)
    worker(engine, "w2", clock).beat()

    assert engine.client.zrange(engine.keys.workers, 0, -1) == ["w2"]
    assert not engine.client.exists(engine.keys.worker("w1"))


def test_nobody_lives_on_an_empty_server(engine):
    assert live_workers(engine.client, Keys("nobody")) == []


def test_a_claim_that_was_committed_is_renewed_no_more(engine, heartbeat):
    header = engine.record(plan("a"))
    claim, reasons, held = holding(engine, heartbeat, header)
    with held:
        engine.store.commit(claim, Outcome("succeeded", 1, {}))
    heartbeat.beat()

    assert reasons == []
    assert engine.client.zcard(engine.keys.claims) == 0
