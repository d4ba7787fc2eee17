"""A task that runs in a thread can be revoked."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.integration


def of_kind(events, kind):
    return [event for event in events if event["type"] == kind]


def kinds_of(events, task_id):
    return [event["type"] for event in events if event.get("uuid") == task_id]


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


@pytest.mark.timeout(30)
def test_a_task_that_does_not_notice_is_not_reported_twice(server, start_worker, producer):
    worker = start_worker("-c", "1")
    result = producer.send_task("stubborn", (3,))
    worker.until_events("started")
    seen = []

    with producer.connection() as connection:
        receiver = producer.events.Receiver(connection, handlers={"*": seen.append})
        capture = receiver.itercapture(timeout=8, wakeup=False)
        next(capture)  # connected
        producer.control.revoke(result.id, terminate=True)
        while not worker.events("ended") or "task-revoked" not in kinds_of(seen, result.id):
            next(capture)
        worker.until(server.settled, "the message to be acknowledged")
        beats = len(of_kind(seen, "worker-heartbeat"))
        while len(of_kind(seen, "worker-heartbeat")) == beats:  # what the task reported has arrived by then
            next(capture)

    assert "task-succeeded" not in kinds_of(seen, result.id)


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
