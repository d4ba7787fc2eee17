"""A short visibility timeout is safe for what lives, and quick for what died."""

from __future__ import annotations

import signal

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.chaos]

SHORT = "3"


def test_a_task_longer_than_the_visibility_timeout_runs_once(server, start_worker, producer):
    worker = start_worker(VISIBILITY_TIMEOUT=SHORT)

    producer.send_task("nap", (9,))

    worker.until_events("ended", timeout=20)
    worker.until(server.settled, "the message to be acknowledged")
    assert len(worker.events("started")) == 1


def test_a_message_that_waits_longer_than_the_visibility_timeout_runs_once(server, start_worker, producer):
    worker = start_worker(VISIBILITY_TIMEOUT=SHORT)

    producer.send_task("nap", (0.1,), countdown=9)

    worker.until_events("ended", timeout=20)
    worker.until(server.settled, "the message to be acknowledged")
    assert len(worker.events("started")) == 1


def test_a_drain_longer_than_the_visibility_timeout_doubles_nothing(server, start_worker, producer):
    leaving = start_worker(VISIBILITY_TIMEOUT=SHORT)
    producer.send_task("nap", (9,))
    leaving.until_events("started")
    start_worker(VISIBILITY_TIMEOUT=SHORT)

    leaving.signal(signal.SIGTERM)

    assert leaving.until_exit(timeout=20) == 0
    assert len(leaving.events("started")) == 1
    assert len(leaving.events("ended")) == 1
    assert server.settled()


def test_the_messages_of_a_killed_worker_run_elsewhere_within_seconds(server, start_worker, producer):
    killed = start_worker(VISIBILITY_TIMEOUT=SHORT)
    producer.send_task("nap", (2,))
    killed.until_events("started")
    other = start_worker(VISIBILITY_TIMEOUT=SHORT)

    killed.process.kill()

    other.until_events("ended", timeout=12)
    other.until(server.settled, "the message to be acknowledged")
    assert [event["pid"] for event in other.events("ended")] == [other.process.pid]
