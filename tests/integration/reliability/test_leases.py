"""A short visibility timeout is safe for what lives, and quick for what died."""

from __future__ import annotations

import signal

import pytest

from tests.support.waiting import let_pass

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(400)]

SHORT = "3"


def test_a_task_longer_than_the_visibility_timeout_runs_once(server, start_worker, producer):
    worker = start_worker(VISIBILITY_TIMEOUT=SHORT)

    producer.send_task("nap", (9,))

    worker.until_events("ended")
    worker.until(server.settled, "the message to be acknowledged")
    assert len(worker.events("started")) == 1


def test_a_message_that_waits_longer_than_the_visibility_timeout_runs_once(server, start_worker, producer):
    worker = start_worker(VISIBILITY_TIMEOUT=SHORT)

    producer.send_task("nap", (0.1,), countdown=9)

    worker.until_events("ended")
    worker.until(server.settled, "the message to be acknowledged")
    assert len(worker.events("started")) == 1


def test_a_drain_longer_than_the_visibility_timeout_doubles_nothing(server, start_worker, producer, bell):
    leaving = start_worker(VISIBILITY_TIMEOUT=SHORT)
    producer.send_task("work", bell.heard)
    leaving.until_events("started")
    start_worker(VISIBILITY_TIMEOUT=SHORT)

    leaving.signal(signal.SIGTERM)
    leaving.until_log("Warm shutdown")
    let_pass(7)
    bell.ring()

    assert leaving.until_exit() == 0
    assert len(leaving.events("started")) == 1
    assert len(leaving.events("ended")) == 1
    assert server.settled()


def test_the_messages_of_a_killed_worker_run_elsewhere(server, start_worker, producer, bell):
    killed = start_worker(VISIBILITY_TIMEOUT=SHORT)
    producer.send_task("work", bell.heard)
    killed.until_events("started")
    other = start_worker(VISIBILITY_TIMEOUT=SHORT)

    killed.process.kill()
    other.until_events("started", 2)
    bell.ring()

    other.until_events("ended")
    other.until(server.settled, "the message to be acknowledged")
    assert [event["pid"] for event in other.events("ended")] == [other.process.pid]
