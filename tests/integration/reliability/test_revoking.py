"""A task that runs in a thread can be revoked."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


def of_kind(events, kind):
    return [event for event in events if event["type"] == kind]


def revoked_at(producer):
    return (producer.control.inspect(["w1@test"], timeout=20).revoked() or {}).get("w1@test", [])


def kinds_of(events, task_id):
    return [event["type"] for event in events if event.get("uuid") == task_id]


@pytest.mark.parametrize("name", ["work", "plain_work"])
def test_a_running_task_is_asked_to_stop_and_stays_revoked(server, start_worker, producer, bell, name):
    worker = start_worker("-c", "1")
    result = producer.send_task(name, bell.heard)
    worker.until_events("started")

    producer.control.revoke(result.id, terminate=True)

    cancelled = worker.until_events("cancelled")
    assert cancelled[0]["reason"] == "revoked"
    worker.until(lambda: server.outcome(result.id) == "REVOKED", "the result to be REVOKED")
    after = producer.send_task("nap", (0.1,))
    worker.until(lambda: server.outcome(after.id) == "SUCCESS", "the next task to succeed")
    worker.until(server.settled, "the messages to be acknowledged")
    assert server.outcome(result.id) == "REVOKED"


def test_a_task_that_does_not_notice_is_not_reported_twice(server, start_worker, producer, bell):
    worker = start_worker("-c", "1")
    result = producer.send_task("stubborn", bell.heard)
    worker.until_events("started")
    seen = []

    with producer.connection() as connection:
        receiver = producer.events.Receiver(connection, handlers={"*": seen.append})
        capture = receiver.itercapture(timeout=60, wakeup=False)
        next(capture)  # connected
        producer.control.revoke(result.id, terminate=True)
        while "task-revoked" not in kinds_of(seen, result.id):
            next(capture)
        bell.ring()
        worker.until_events("ended")
        worker.until(server.settled, "the message to be acknowledged")
        beats = len(of_kind(seen, "worker-heartbeat"))
        while (
            len(of_kind(seen, "worker-heartbeat")) < beats + 2
        ):  # what the task reported has arrived by then
            next(capture)

    assert "task-succeeded" not in kinds_of(seen, result.id)


@pytest.mark.parametrize("countdown", [None, 5])
def test_a_task_that_has_not_begun_never_does(server, start_worker, producer, bell, countdown):
    worker = start_worker("-c", "1", "--prefetch-multiplier", "2")
    first = producer.send_task("work", bell.heard)
    worker.until_events("started")
    waiting = producer.send_task("nap", (0.1,), countdown=countdown)

    producer.control.revoke(waiting.id, terminate=True)
    worker.until(lambda: waiting.id in revoked_at(producer), "the worker to know of it")
    bell.ring()

    worker.until(lambda: server.outcome(first.id) == "SUCCESS", "the first task to succeed")
    worker.until(lambda: server.outcome(waiting.id) == "REVOKED", "the result to be REVOKED")
    worker.until(server.settled, "the messages to be acknowledged")
    assert worker.events(task_id=waiting.id) == []
