"""What was lost is sent again, once; what progresses is left alone."""

import threading

import pytest
import redis

from cf_workers.workflows.liveness import Heartbeat
from cf_workers.workflows.outcome import Outcome
from cf_workers.workflows.reconciler import Reconciler, ReconcilerPolicy
from cf_workers.workflows.record import NewRun
from tests.support import eventually
from tests.support.engine import FAILED, SUCCEEDED, Engine, FakeServer, diamond, fake_client, plan, step

FINISHING = "cf_workers.finish_run"
POLICY = ReconcilerPolicy(
    tick_seconds=1, runs_every_seconds=5, patience_seconds=5, busy_patience_seconds=60, resend_seconds=10
)


class World:
    """An engine with one reconciler, queues of a chosen length, and a clock that all of it shares."""

    def __init__(self, engine, server_time):
        self.engine = engine
        self.time = server_time
        self.waiting = 0
        self.looks_at_queues = 0
        self.heartbeat = self._heartbeat("w1")
        self.heartbeat.beat()
        self.reconciler = self.another(self.heartbeat)

    def _heartbeat(self, name):
        engine = self.engine
        return Heartbeat(engine.client, engine.keys, worker=name, about=dict, clock=self.time.now)

    def another(self, heartbeat=None, policy=POLICY, woken=None):
        return Reconciler(
            self.engine.client,
            self.engine.keys,
            store=self.engine.store,
            launcher=self.engine.launcher,
            heartbeat=heartbeat or self._heartbeat("w2"),
            queue_length=self.queue_length,
            woken=woken,
            policy=policy,
            clock=self.time.now,
        )

    def queue_length(self, queue):
        self.looks_at_queues += 1
        return self.waiting

    def tick_for(self, seconds, every=1.0):
        """Tick for a while; returns what was sent: after how many seconds, and what."""
        sent = []
        for n in range(1, round(seconds / every) + 1):
            self.time.advance(every)
            self.heartbeat.beat()
            self.reconciler.tick()
            sent += [(n * every, message.step) for message in self.engine.published()]
        return sent


@pytest.fixture
def world(server_time):
    server = FakeServer()
    server.started_at -= 10_000
    engine = Engine(client=fake_client(server))
    yield World(engine, server_time)
    engine.close()


def silence(world, claim):
    """The claim's worker dies."""
    world.engine.client.zadd(world.engine.keys.claims, {claim.member: world.time.now() - 9})


def sent_steps(sent):
    return [step for _, step in sent]


def headers_read(world, monkeypatch):
    """The runs whose headers are read from now on."""
    read, header = [], world.engine.store.header
    monkeypatch.setattr(
        world.engine.store, "header", lambda run, attempt: read.append(run) or header(run, attempt)
    )
    return read


# claims


def test_a_step_of_a_dead_worker_is_sent_again_soon_and_then_ever_more_rarely(world):
    """The first worker to get it may be too unsure to take it over; a long queue is not filled with it."""
    header = world.engine.record(plan("a"))
    silence(world, world.engine.claim(header, "a"))

    sent = world.tick_for(32)

    assert sent_steps(sent) == ["a"] * 5
    assert [at for at, _ in sent] == pytest.approx([1, 3, 7, 15, 31], abs=1.1)


def test_the_second_death_under_a_step_is_noticed_as_soon_as_the_first(world):
    header = world.engine.record(plan("a"))
    silence(world, world.engine.claim(header, "a"))
    world.tick_for(20)
    silence(world, world.engine.claim(header, "a", "w2", may_take_over=True))

    assert [at for at, _ in world.tick_for(3)] == pytest.approx([1, 3], abs=1.1)


def test_a_step_whose_worker_lives_is_left_alone(world):
    header = world.engine.record(plan("a"))
    claim = world.engine.claim(header, "a")
    with world.heartbeat.holding(claim, lambda reason: None):
        assert world.tick_for(120, every=2) == []


def test_nothing_is_dead_while_others_could_not_have_shown_that_they_live(world):
    header = world.engine.record(plan("a"))
    silence(world, world.engine.claim(header, "a"))
    world.time.advance(60)  # this worker itself was away
    world.heartbeat.beat()

    world.reconciler.tick()

    assert world.engine.published() == []
    assert sent_steps(world.tick_for(9)) == ["a"]


def test_a_dead_claim_of_a_run_that_nobody_knows_is_dropped(world):
    header = world.engine.record(plan("a"))
    silence(world, world.engine.claim(header, "a"))
    world.engine.client.delete(*world.engine.keys.run(header.run).all())

    assert world.tick_for(2) == []
    assert world.engine.client.zcard(world.engine.keys.claims) == 0


def test_a_dead_claim_of_a_single_execution_sends_its_own_message(world):
    message = world.engine.app.signature(
        "cf_workers.run_agent", args=("a", "hi"), options={"task_id": "e1", "queue": "interactive"}
    )
    header = world.engine.record(plan("a"), run="e1", message=dict(message))
    silence(world, world.engine.claim(header, "a"))

    assert sent_steps(world.tick_for(2)) == ["cf_workers.run_agent"]


# retries


def test_a_retry_that_nobody_took_is_sent_again_after_patience(world):
    header = world.engine.record(plan("a"))
    world.engine.store.defer(world.engine.claim(header, "a"), attempts=1, countdown=20, reason="x")

    assert world.tick_for(24) == []
    assert sent_steps(world.tick_for(3)) == ["a"]


def test_a_retry_of_a_run_that_nobody_knows_is_dropped(world):
    header = world.engine.record(plan("a"))
    world.engine.store.defer(world.engine.claim(header, "a"), attempts=1, countdown=0, reason="x")
    world.engine.client.delete(*world.engine.keys.run(header.run).all())

    assert world.tick_for(7) == []
    assert world.engine.client.zcard(world.engine.keys.due) == 0


def test_a_retry_that_goes_on_is_left_alone(world):
    header = world.engine.record(plan("a"))
    world.engine.store.defer(world.engine.claim(header, "a"), attempts=1, countdown=3, reason="x")
    world.tick_for(3)

    with world.heartbeat.holding(world.engine.claim(header, "a"), lambda reason: None):
        assert world.tick_for(30) == []


# parked steps


def test_a_parked_step_is_published_when_it_is_due(world):
    """It has no message of its own."""
    header = world.engine.record(plan("a"))
    world.engine.store.park(world.engine.claim(header, "a"), countdown=20, reason="breaker open")

    assert world.tick_for(19) == []
    assert sent_steps(world.tick_for(2)) == ["a"]
    claim = world.engine.claim(header, "a")
    assert (claim.verdict, claim.attempts) == ("run", 0)
    assert world.engine.client.zcard(world.engine.keys.parked) == 0


def test_a_parked_step_whose_message_was_lost_is_published_again(world):
    header = world.engine.record(plan("a"))
    world.engine.store.park(world.engine.claim(header, "a"), countdown=0, reason="x")

    assert [at for at, _ in world.tick_for(22)] == [1, 11, 21]


def test_a_parked_step_whose_message_lies_in_a_backlog_is_not_published_again_and_again(world):
    claim = world.engine.claim(world.engine.record(plan("a"), "r1"), "a")
    world.engine.store.park(claim, countdown=3, reason="busy")
    world.waiting = 500

    sent = sent_steps(world.tick_for(60))
    assert sent == ["a"]

    assert sent_steps(world.tick_for(15)) == ["a"]
    assert sent_steps(world.tick_for(60)) == []
    world.waiting = 0
    assert sent_steps(world.tick_for(11)) == ["a"]


def test_a_step_that_parks_again_is_published_when_it_is_due_whatever_lies_in_the_queues(world):
    header = world.engine.record(plan("a"), "r1")
    world.waiting = 500
    for _ in range(3):
        world.engine.store.park(world.engine.claim(header, "a"), countdown=3, reason="busy")
        assert sent_steps(world.tick_for(4)) == ["a"]


def test_a_parked_step_of_a_run_that_nobody_knows_is_dropped(world):
    header = world.engine.record(plan("a"))
    world.engine.store.park(world.engine.claim(header, "a"), countdown=0, reason="x")
    world.engine.client.delete(*world.engine.keys.run(header.run).all())

    assert world.tick_for(2) == []
    assert world.engine.client.zcard(world.engine.keys.parked) == 0


def test_parked_steps_do_not_come_back_as_a_stampede(world):
    header = world.engine.record(plan(*(f"s{n}" for n in range(7))))
    for one in header.plan.steps:
        world.engine.store.park(world.engine.claim(header, one.id), countdown=0, reason="x")
    few = ReconcilerPolicy(unpark_per_second=3)
    world.reconciler = world.another(world.heartbeat, few)

    sent = world.tick_for(3)

    assert [at for at, _ in sent] == [1] * 3 + [2] * 3 + [3]
    assert len(set(sent_steps(sent))) == 7


def test_a_parked_step_is_published_a_little_early_since_that_takes_a_while(world):
    header = world.engine.record(plan("a"))
    world.engine.store.park(world.engine.claim(header, "a"), countdown=1.05, reason="x")

    assert sent_steps(world.tick_for(1)) == ["a"]
    assert world.engine.claim(header, "a").verdict == "run"


def test_between_ticks_parked_steps_alone_are_looked_at(world):
    header = world.engine.record(plan("a"))
    world.engine.store.park(world.engine.claim(header, "a"), countdown=0, reason="x")
    world.time.advance(0.1)

    world.reconciler.release_parked()

    assert [message.step for message in world.engine.published()] == ["a"]


def test_parked_steps_of_many_runs_are_published_together_each_as_it_is(world):
    """A single execution of a canvas keeps the place that it has there, and the lane that it came by."""
    engine = world.engine
    execution = engine.app.signature(
        "cf_workers.run_agent",
        args=("a", "hi"),
        options={"task_id": "e1", "queue": "batch", "group_id": "g", "group_index": 7},
    )
    headers = [engine.record(plan("a"), run="e1", message=dict(execution))]
    headers += [engine.record(plan("a", "b"), run=f"r{n}") for n in range(60)]
    for header in headers:
        engine.store.park(engine.claim(header, "a"), countdown=0, reason="x")
    engine.client.delete(engine.keys.run("r7").run)
    world.time.advance(0.1)

    world.reconciler.release_parked()

    sent = {message.id: message for message in engine.published()}
    assert sent.keys() == {"e1", *(f"r{n}:a" for n in range(60) if n != 7)}
    assert (sent["e1"].queue, sent["e1"].headers["group_index"]) == ("batch", 7)
    assert {sent[f"r{n}:a"].headers["group_index"] for n in range(60) if n != 7} == {None}
    assert engine.client.zscore(engine.keys.parked, "r7\ta") is None


def test_a_run_of_parked_steps_is_not_looked_at_for_lost_ones(world, monkeypatch):
    header = world.engine.record(plan("a"))
    world.engine.store.park(world.engine.claim(header, "a"), countdown=1000, reason="x")
    read = headers_read(world, monkeypatch)

    world.tick_for(30)

    assert read == []


# deadlines


def test_a_run_past_its_deadline_is_stopped_and_ended(world):
    header = world.engine.record(plan("a", "b"), timeout_seconds=30)
    world.engine.finish_step(header, "a")

    before = world.tick_for(4)
    late = world.tick_for(30)

    assert FINISHING not in sent_steps(before)
    assert sent_steps(late).count(FINISHING) == 1
    assert world.engine.field(header.run, "stopping") == "timeout"
    assert world.engine.store.finish(header.run, 1) == ("ended", "failed")
    assert world.tick_for(30) == []


def test_a_run_past_its_deadline_waits_for_calls_in_flight(world):
    header = world.engine.record(plan("a"), timeout_seconds=5)
    claim = world.engine.claim(header, "a")
    told = []
    with world.heartbeat.holding(claim, told.append):
        sent = world.tick_for(10)

    assert sent == []
    assert set(told) == {"timeout"}


def test_a_run_without_a_time_out_is_never_stopped(world):
    header = world.engine.record(plan("a"))
    with world.heartbeat.holding(world.engine.claim(header, "a"), lambda reason: None):
        world.time.advance(86_400)
        world.heartbeat.beat()
        world.reconciler.tick()

    assert world.engine.field(header.run, "stopping") == ""


def test_an_active_run_that_nobody_knows_is_dropped(world):
    world.engine.client.zadd(world.engine.keys.active, {"past": 1, "present": float("inf")})

    assert world.tick_for(6) == []
    assert world.engine.client.zcard(world.engine.keys.active) == 0


# lost messages


def test_roots_that_were_never_published_are_sent_after_patience(world):
    """A producer may die between writing the record and publishing."""
    world.engine.record(diamond())

    assert world.tick_for(4) == []
    assert sent_steps(world.tick_for(4)) == ["start"]


def test_a_join_whose_message_was_lost_is_sent_after_patience(world):
    header = world.engine.record(diamond())
    for one in ("start", "left", "right"):
        world.engine.finish_step(header, one)

    sent = world.tick_for(11)

    assert sent_steps(sent) == ["end"]
    assert sent[0][0] >= 5


def test_a_step_that_waits_in_a_full_queue_is_given_more_time_each_time(world):
    world.engine.record(plan("a"))
    world.waiting = 500

    sent = world.tick_for(400, every=5)

    assert sent_steps(sent) == ["a", "a", "a"]
    assert [at for at, _ in sent] == pytest.approx([60, 120, 240], abs=11)


def test_a_look_at_a_run_looks_at_each_queue_once_however_many_steps_wait_in_it(world):
    """Looking at a queue takes a connection to the broker."""
    world.engine.record(plan(*"abcdefgh"))
    world.waiting = 500

    world.tick_for(9, every=9)

    assert world.looks_at_queues == 1


def test_only_steps_that_are_ready_are_sent(world):
    header = world.engine.record(plan("a", "b", step("c", "a"), step("d", "c", "b")))
    world.engine.finish_step(header, "a")

    sent = world.tick_for(9)

    assert set(sent_steps(sent)) == {"b", "c"}


def test_a_sequential_run_is_sent_one_step_after_the_other(world):
    header = world.engine.record(plan("a", step("b", after=("a",)), step("c", after=("b",))))

    assert set(sent_steps(world.tick_for(9))) == {"a"}
    world.engine.finish_step(header, "a")
    assert set(sent_steps(world.tick_for(11))) == {"b"}


@pytest.mark.parametrize("last", [SUCCEEDED, FAILED])
def test_a_run_of_which_nothing_is_left_is_ended(world, last):
    header = world.engine.record(plan("a"))
    world.engine.finish_step(header, "a", last)

    sent = world.tick_for(9)

    assert sent_steps(sent) == [FINISHING]


def test_a_stopping_run_with_nothing_in_flight_is_ended(world):
    header = world.engine.record(plan("a", "b"))
    world.engine.store.stop(header.run, "cancelled")

    assert sent_steps(world.tick_for(9)) == [FINISHING]


def test_a_stopping_run_starts_nothing_more(world):
    header = world.engine.record(plan("a", "b"))
    claim = world.engine.claim(header, "a")
    world.engine.store.stop(header.run, "cancelled")
    with world.heartbeat.holding(claim, lambda reason: None):
        assert world.tick_for(60) == []


def test_a_run_that_progresses_is_never_touched(world):
    header = world.engine.record(plan("a", *(step(f"s{n}", f"s{n - 1}" if n else "a") for n in range(30))))
    sent = []
    for one in header.plan.steps:
        claim = world.engine.claim(header, one.id)
        with world.heartbeat.holding(claim, lambda reason: None):
            sent += world.tick_for(3)
        world.engine.store.commit(claim, SUCCEEDED)

    assert sent == []
    assert world.engine.store.finish(header.run, 1) == ("ended", "succeeded")


def test_a_second_attempt_is_healed_like_a_first_one(world):
    header = world.engine.record(diamond())
    for one, outcome in (("start", SUCCEEDED), ("left", SUCCEEDED), ("right", FAILED)):
        world.engine.finish_step(header, one, outcome)
    world.engine.store.commit(world.engine.claim(header, "end"), Outcome("skipped", 0, {}))
    world.engine.store.finish(header.run, 1)
    world.time.advance(1000)
    world.heartbeat.beat()
    world.engine.store.reopen(header.run)

    assert world.tick_for(4) == []
    assert sent_steps(world.tick_for(4)) == ["right"]


def test_a_run_that_cannot_be_read_keeps_nobody_from_the_others(world, caplog):
    broken = world.engine.record(plan("x"), run="broken", timeout_seconds=3)
    silence(world, world.engine.claim(broken, "x"))
    world.engine.record(plan("a"), run="fine")
    world.engine.client.delete(world.engine.keys.definition(broken.plan.digest))
    fresh = World(Engine(client=world.engine.client), world.time)

    sent = fresh.tick_for(9)

    assert set(sent_steps(sent)) == {"a"}
    assert "run.unreadable run=broken" in caplog.text
    fresh.engine.app.close()


def test_every_one_of_many_runs_has_its_turn(world):
    one = plan("a")
    world.engine.definitions.pin("many", {one.digest: one.text}, 1000)
    for n in range(1005):
        world.engine.store.start(NewRun(run=f"r{n:04}", kind="workflow", plan=one))

    sent = world.tick_for(12)

    assert len(sent) == 1005


def test_runs_that_wait_in_a_full_queue_are_not_read_before_their_patience_is_over(world, monkeypatch):
    for n in range(3):
        world.engine.record(plan("a", name=f"p{n}"), run=f"r{n}")
    world.waiting = 3
    read = headers_read(world, monkeypatch)

    assert world.tick_for(55) == []
    assert read == []
    assert sorted(sent_steps(world.tick_for(15))) == ["a", "a", "a"]


def test_of_many_runs_that_wait_in_a_full_queue_a_portion_is_read_in_each_pass(world):
    one = plan("a")
    world.engine.definitions.pin("many", {one.digest: one.text}, 1000)
    for n in range(205):
        world.engine.store.start(NewRun(run=f"r{n:04}", kind="workflow", plan=one))
    world.waiting = 205
    assert world.tick_for(55, every=5) == []

    sent = [len([1 for at, _ in world.tick_for(5, every=5)]) for _ in range(3)]

    assert sent == [100, 100, 5]


# election


def test_one_worker_at_a_time_reconciles(world):
    other = world.another()

    assert world.reconciler._elected()
    assert not other._elected()
    assert world.reconciler._elected()


def test_another_worker_takes_over_when_the_elected_one_has_died(world):
    other = world.another()
    world.reconciler._elected()

    world.time.advance(3.5)

    assert other._elected()
    assert not world.reconciler._elected()


class Woken(threading.Event):
    """Lets its reconciler look once, and then only when told so."""

    def __init__(self):
        super().__init__()
        self.waits = 0

    def wait(self, timeout=None):
        self.waits += 1
        return False if self.waits == 1 else super().wait()


def test_what_was_woken_is_published_without_waiting_for_the_next_look(world):
    header = world.engine.record(plan("a"))
    claim = world.engine.claim(header, "a")
    woken = Woken()
    reconciler = world.another(world.heartbeat, ReconcilerPolicy(tick_seconds=0.02), woken=woken)
    reconciler.start()
    try:
        eventually(lambda: woken.waits == 2, "its first look to be over")
        world.engine.store.park(claim, countdown=1000, reason="another one's first word")
        world.engine.store.unpark([claim.waiter])
        assert world.engine.published() == []

        woken.set()

        eventually(world.engine.published, "the step to be published")
    finally:
        reconciler.stop()


def test_the_thread_reconciles_and_survives_an_outage(world):
    header = world.engine.record(plan("a"))
    world.engine.finish_step(header, "a")
    world.time.advance(6)
    world.heartbeat.beat()
    reconciler = world.another(world.heartbeat, ReconcilerPolicy(tick_seconds=0.02))
    server = world.engine.client.connection_pool.connection_kwargs["server"]
    server.connected = False
    reconciler.start()
    try:
        with pytest.raises(redis.ConnectionError):
            world.engine.client.ping()
        server.connected = True
        eventually(world.engine.published, "the end of the run to be published")
    finally:
        server.connected = True
        reconciler.stop()
