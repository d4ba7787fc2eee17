"""Readiness has reasons."""

import json
import urllib.error
import urllib.request

import pytest
import redis

from cf_workers._redis import Keys
from cf_workers.errors import OverloadedError
from cf_workers.health import Check, Examiner, HealthPolicy, ProbeServer, Readiness
from cf_workers.reliability.queues import QueueState
from cf_workers.resilience import Ask, BreakerPolicy, Guard, GuardPolicy, Scope, failed
from cf_workers.wire import QUEUES
from cf_workers.workflows.liveness import Heartbeat
from tests.support.engine import FakeServer, fake_client

NOW = 1000.0


class World:
    """A fake server with a guard, workers as told, and queues as told."""

    def __init__(self):
        self.client = fake_client(FakeServer())
        self.guard = Guard(
            self.client,
            Keys(),
            GuardPolicy(
                breaker=BreakerPolicy(
                    consecutive_failures=1, cooldown_seconds=60, longest_cooldown_seconds=60
                )
            ),
        )
        self.queues = [QueueState(queue, 0) for queue in QUEUES]

    def worker(self, *queues, **about):
        Heartbeat(
            self.client,
            Keys(),
            worker="w:" + "".join(queues),
            about=lambda: {"queues": list(queues), "pid": 1, **about},
        ).beat()

    def examine(self):
        examiner = Examiner(
            self.client,
            Keys(),
            guard=self.guard,
            look=lambda names: self.queues,
            policy=HealthPolicy(queue_age_seconds=30),
            clock=lambda: NOW,
        )
        return examiner.examine()


@pytest.fixture
def world():
    return World()


def failures(found):
    return {check.name: check.says for check in found.checks if not check.ok}


def test_with_everything_there_it_is_ready(world):
    world.worker(*QUEUES)

    found = world.examine()

    assert (found.ready, found.unreachable, found.document()["reasons"]) == (True, False, [])
    assert set(found.document()["checks"]) == {"server", "workers", "guard", "breaker", "queues"}


def test_without_workers_nobody_can_be_reached(world):
    found = world.examine()

    assert failures(found) == {"workers": "none is alive"}
    assert found.unreachable


def test_a_queue_that_nobody_serves_is_named(world):
    world.worker("control", "interactive")

    assert failures(world.examine()) == {"workers": "1 alive, and none listens on batch"}


def test_an_open_breaker_is_a_reason_and_says_for_how_long(world):
    world.worker(*QUEUES)
    permit = world.guard.admit(Ask(Scope("c", "opus"))).permit
    world.guard.settle(permit, failed(OverloadedError("x")))

    found = world.examine()

    assert not found.unreachable
    assert failures(found)["breaker"].startswith("c/opus: open, for ")


def test_workers_whose_guards_are_blind_are_a_reason_and_what_went_by_them_is_told(world):
    world.worker(*QUEUES, guard_blind=True)
    world.client.hset(Keys().counters, "guard_blind_calls", 7)

    found = world.examine()

    assert failures(found) == {
        "guard": "1 of 1 workers call without asking; 7 calls were made without asking"
    }
    assert not found.unreachable


@pytest.mark.parametrize(("sent_at", "ready"), [(NOW - 29, True), (NOW - 31, False), (None, True)])
def test_work_that_has_waited_for_too_long_is_a_reason(world, sent_at, ready):
    world.worker(*QUEUES)
    world.queues = [QueueState("batch", 7, sent_at)]

    assert world.examine().ready is ready


def test_a_server_that_does_not_answer_is_the_only_thing_there_is_to_say(world, monkeypatch):
    def gone(*_):
        raise redis.ConnectionError("redis://:secret@host refused")

    monkeypatch.setattr(world.client, "ping", gone)

    found = world.examine()

    assert failures(found) == {"server": "does not answer (ConnectionError)"}
    assert found.unreachable


def ask(server, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize(("alive", "ready", "codes"), [(True, True, (200, 200)), (False, False, (503, 503))])
def test_probes_answer_with_the_status_that_orchestrators_read(alive, ready, codes):
    server = ProbeServer(lambda: alive, lambda: Readiness((Check("server", ready, "told"),)))
    server.start()
    try:
        health, readiness = ask(server, "/healthz"), ask(server, "/readyz?verbose")
        other = ask(server, "/secret")
    finally:
        server.stop()

    assert (health[0], readiness[0]) == codes
    assert readiness[1]["reasons"] == ([] if ready else ["server: told"])
    assert other[0] == 404
    assert server.port == 0


def test_metrics_are_told_where_there_are_any_in_the_form_that_is_asked_for():
    told = []

    def metrics(accept):
        told.append(accept)
        return "text/plain; version=0.0.4", b"cf_workers_runs 1\n"

    server = ProbeServer(lambda: True, lambda: Readiness(()), metrics=metrics)
    server.start()
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/metrics", headers={"Accept": "application/openmetrics-text"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content_type, text = answer.headers["Content-Type"], answer.read()
    finally:
        server.stop()

    assert (content_type, text) == ("text/plain; version=0.0.4", b"cf_workers_runs 1\n")
    assert told == ["application/openmetrics-text"]


def test_without_metrics_there_is_no_such_page():
    server = ProbeServer(lambda: True, lambda: Readiness(()))
    server.start()
    try:
        status, document = ask(server, "/metrics")
    finally:
        server.stop()

    assert status == 404
    assert document == {"error": "try /healthz, /readyz"}
