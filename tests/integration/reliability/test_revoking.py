"""A task that runs in a thread can be revoked."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", ["nap", "plain_nap"])
def test_a_running_task_is_asked_to_stop_and_stays_revoked(server, start_worker, producer, name):
    worker = start_worker("-c", "1")
    result = producer.send_task(name, (60,))
    worker.until_events("started")

    producer.control.revoke(result.id, terminate=True)

    cancelled = worker.until_events("cancelled")
    assert cancelled[0]["reason"] == "revoked"
    worker.until(lambda: server.outcome(result.id) == "REVOKED", "the result to be REVOKED")
    after = producer.send_task("nap", (0.1,))
    worker.until(lambda: server.outcome(after.id) == "SUCCESS", "the next task to succeed")
    worker.until(server.settled, "the messages to be acknowledged")
    assert server.outcome(result.id) == "REVOKED"


def test_a_task_that_does_not_notice_is_not_reported_twice(server, start_worker, producer):
    worker = start_worker("-c", "1")
    result = producer.send_task("stubborn", (3,))
    worker.until_events("started")
    seen = []

    with producer.connection() as connection:
        receiver = producer.events.Receiver(connection, handlers={"*": seen.append})
        capture = receiver.itercapture(timeout=8)
        next(capture)  # connected
        producer.control.revoke(result.id, terminate=True)
        for _ in capture:
            if any(event["type"] == "task-revoked" for event in seen) and worker.events("ended"):
                break

    worker.until(server.settled, "the message to be acknowledged")
    kinds = [event["type"] for event in seen if event.get("uuid") == result.id]
    assert "task-revoked" in kinds
    assert "task-succeeded" not in kinds


@pytest.mark.parametrize("countdown", [None, 5])
def test_a_task_that_has_not_begun_never_does(server, start_worker, producer, countdown):
    worker = start_worker("-c", "1", "--prefetch-multiplier", "2")
    first = producer.send_task("nap", (3,))
    worker.until_events("started")
    waiting = producer.send_task("nap", (0.1,), countdown=countdown)

    producer.control.revoke(waiting.id, terminate=True)

    worker.until(lambda: server.outcome(first.id) == "SUCCESS", "the first task to succeed")
    worker.until(lambda: server.outcome(waiting.id) == "REVOKED", "the result to be REVOKED")
    worker.until(server.settled, "the messages to be acknowledged")
    assert worker.events(task_id=waiting.id) == []
