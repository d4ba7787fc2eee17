"""The first signal drains, the second one stops at once; nothing is lost either way."""

from __future__ import annotations

import signal
import time

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


def test_draining_finishes_what_runs_and_gives_back_the_rest(server, start_worker, producer, bell):
    worker = start_worker("-c", "2", "--prefetch-multiplier", "4")
    for _ in range(5):
        producer.send_task("work", bell.heard)
    worker.until_events("started", 2)

    worker.signal(signal.SIGTERM)
    worker.until_log("Warm shutdown")
    bell.ring()

    assert worker.until_exit() == 0
    assert len(worker.events("ended")) == 2
    assert len(worker.events("started")) == 2
    assert (server.waiting(), server.held()) == (3, 0)


def test_what_finishes_while_draining_is_acknowledged_at_once(server, start_worker, producer, bell):
    """So that a drain which takes too long and is killed repeats only what had not finished."""
    worker = start_worker()
    producer.send_task("work", bell.heard)
    producer.send_task("nap", (600,))
    worker.until_events("started", 2)

    worker.signal(signal.SIGTERM)
    worker.until_log("Warm shutdown")
    bell.ring()

    worker.until_events("ended")
    worker.until(lambda: server.held() == 1, "the short one to be acknowledged")
    assert worker.alive


@pytest.mark.chaos
def test_a_worker_without_its_broker_can_be_stopped(server, start_worker, producer):
    worker = start_worker()
    producer.send_task("nap", (600,))
    worker.until_events("started")
    server.kill()
    worker.until_log("Trying again in 2.00 seconds")

    worker.signal(signal.SIGTERM)
    worker.until_log("Warm shutdown")
    worker.signal(signal.SIGTERM)

    worker.until_exit()
    assert len(worker.events("cancelled")) == 1


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_second_signal_gives_everything_back_at_once(server, start_worker, producer, second):
    worker = start_worker()
    for _ in range(3):
        producer.send_task("nap", (600,))
    worker.until_events("started", 3)
    worker.signal(signal.SIGTERM)
    worker.until_log("Warm shutdown")

    worker.signal(second)

    worker.until_exit()
    assert [event["reason"] for event in worker.events("cancelled")] == ["draining"] * 3
    assert (server.waiting(), server.held()) == (3, 0)


def test_a_task_that_ignores_the_request_does_not_hold_the_worker_up(server, start_worker, producer, bell):
    worker = start_worker()
    producer.send_task("stubborn", bell.heard)
    worker.until_events("started")
    worker.signal(signal.SIGTERM)
    worker.until_log("Warm shutdown")

    worker.signal(signal.SIGTERM)

    worker.until_exit()
    assert (server.waiting(), server.held()) == (1, 0)


@pytest.mark.parametrize("name", ["work", "plain_work"])
def test_sigquit_stops_at_once(server, start_worker, producer, bell, name):
    worker = start_worker()
    for _ in range(2):
        producer.send_task(name, bell.heard)
    worker.until_events("started", 2)

    worker.signal(signal.SIGQUIT)

    worker.until_exit()
    assert "NotImplementedError" not in worker.output()
    assert [event["reason"] for event in worker.events("cancelled")] == ["draining"] * 2
    assert (server.waiting(), server.held()) == (2, 0)


def test_a_soft_shutdown_lets_short_tasks_finish_and_gives_back_long_ones(
    server, start_worker, producer, bell
):
    worker = start_worker(REMAP_SIGTERM="SIGQUIT", SOFT_SHUTDOWN="6")
    producer.send_task("work", bell.heard)
    producer.send_task("nap", (600,))
    worker.until_events("started", 2)

    worker.signal(signal.SIGTERM)
    worker.until_log("Initiating Soft Shutdown")
    bell.ring()

    worker.until_exit()
    assert "NotImplementedError" not in worker.output()
    assert (len(worker.events("ended")), len(worker.events("cancelled"))) == (1, 1)
    assert (server.waiting(), server.held()) == (1, 0)


def test_a_worker_of_processes_gives_back_at_the_second_signal_too(server, start_worker, producer, bell):
    worker = start_worker("-P", "processes", "-c", "2")
    for _ in range(2):
        producer.send_task("stubborn", bell.heard)
    worker.until_events("started", 2)
    worker.signal(signal.SIGTERM)
    worker.until_log("Warm shutdown")

    worker.signal(signal.SIGTERM)

    worker.until_exit()
    assert (server.waiting(), server.held()) == (2, 0)


@pytest.mark.chaos
def test_the_heartbeat_file_is_touched_at_work_without_a_broker_and_while_draining(
    server, start_worker, producer, bell, tmp_path
):
    file = tmp_path / "alive"
    worker = start_worker(HEARTBEAT_FILE=str(file))

    def beats() -> None:
        now = time.time()
        worker.until(lambda: file.stat().st_mtime > now, "a beat")

    beats()
    producer.send_task("work", bell.heard)
    worker.until_events("started")
    server.kill()
    worker.until_log("Trying again in 2.00 seconds")
    beats()
    server.start()
    worker.until_connected_again()
    beats()
    worker.signal(signal.SIGTERM)
    worker.until_log("Warm shutdown")
    beats()
    bell.ring()
    assert worker.until_exit() == 0
    assert not file.exists()


def test_a_stopped_process_does_not_beat(start_worker, tmp_path):
    file = tmp_path / "alive"
    worker = start_worker(HEARTBEAT_FILE=str(file))

    worker.signal(signal.SIGSTOP)

    worker.until(lambda: time.time() - file.stat().st_mtime > 1.5, "the file to grow old")
    worker.signal(signal.SIGCONT)
    worker.until(lambda: time.time() - file.stat().st_mtime < 0.5, "the beat to come back")
