"""A worker outlives its broker, and keeps what it runs."""

from __future__ import annotations

import pytest

from tests.support.waiting import let_pass

pytestmark = [pytest.mark.integration, pytest.mark.chaos, pytest.mark.timeout(400)]

LOST = "Connection to broker lost"


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_worker_with_a_running_task_survives_a_restart_of_the_broker(
    server, start_worker, producer, bell, pool
):
    worker = start_worker("-P", pool, VISIBILITY_TIMEOUT="3")
    producer.send_task("work", bell.heard)
    worker.until_events("started")

    server.kill()
    worker.until_log(LOST)
    server.start()
    worker.until_connected_again()
    let_pass(5)  # longer than the visibility timeout
    bell.ring()

    worker.until_events("ended")
    worker.until(server.settled, "the message to be acknowledged")
    assert worker.alive
    assert len(worker.events("started")) == 1


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_message_that_waits_for_its_time_survives_a_restart_of_the_broker(
    server, start_worker, producer, pool
):
    worker = start_worker("-P", pool, VISIBILITY_TIMEOUT="60")
    producer.send_task("nap", (0.1,), countdown=8, ignore_result=True)
    worker.until(server.held, "the message to be held")

    server.kill()
    worker.until_log(LOST)
    server.start()

    worker.until_events("ended")
    worker.until(server.settled, "the message to be acknowledged")
    assert worker.alive
    assert len(worker.events("started")) == 1


def test_a_task_that_ends_while_the_broker_is_away_does_not_run_again(server, start_worker, producer, bell):
    worker = start_worker(VISIBILITY_TIMEOUT="3")
    producer.send_task("work", bell.heard, ignore_result=True)
    worker.until_events("started")

    server.kill()
    worker.until_log(LOST)
    bell.ring()
    worker.until_events("ended")
    server.start()

    worker.until(server.settled, "the message to be acknowledged")
    assert worker.alive
    assert len(worker.events("started")) == 1


def test_an_outage_longer_than_the_visibility_timeout_does_not_double_a_running_task(
    server, start_worker, producer, bell
):
    workers = [start_worker(VISIBILITY_TIMEOUT="3"), start_worker(VISIBILITY_TIMEOUT="3")]
    producer.send_task("work", bell.heard)
    workers[0].until_events("started")

    server.kill()
    for worker in workers:
        worker.until_log("Trying again in 4.00 seconds")
    server.start()
    for worker in workers:
        worker.until_connected_again()
    let_pass(5)
    bell.ring()

    workers[0].until_events("ended")
    workers[0].until(server.settled, "the message to be acknowledged")
    assert len(workers[0].events("started")) == 1
    assert all(worker.alive for worker in workers)


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_a_broken_connection_does_not_run_a_task_a_second_time(server, start_worker, producer, bell, pool):
    worker = start_worker("-P", pool)
    for _ in range(3):
        producer.send_task("work", bell.heard)
    worker.until_events("started", 3)

    server.cut_connections()
    worker.until_log(LOST)
    worker.until_connected_again()
    let_pass(1)
    bell.ring()

    worker.until_events("ended", 3)
    worker.until(server.settled, "the messages to be acknowledged")
    assert len(worker.events("started")) == 3


def test_a_backlog_runs_through_an_outage_and_cut_connections_each_task_once(server, start_worker, producer):
    workers = [start_worker("-c", "8", VISIBILITY_TIMEOUT="10") for _ in range(2)]
    sent = {producer.send_task("nap", (0.4,), ignore_result=True).id for _ in range(240)}
    workers[0].until_events("ended", 30)

    server.cut_connections()
    workers[0].until_events("ended", 60)
    server.kill()
    for worker in workers:
        worker.until_log("Trying again in 2.00 seconds")
    server.start()

    workers[0].until_events("ended", len(sent))
    workers[0].until(server.settled, "every message to be acknowledged")
    assert sorted(event["id"] for event in workers[0].events("started")) == sorted(sent)
    assert all(worker.alive for worker in workers)
