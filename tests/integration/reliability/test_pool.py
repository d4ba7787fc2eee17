"""The threads pool loses no slot, changes its size, and is the one that starts."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

OURS = "cf_workers.reliability.pool:TaskPool"
PREFORK = "celery.concurrency.prefork:TaskPool"


def pool_of(producer):
    replies = producer.control.inspect(["w1@test"], timeout=20).stats() or {}
    return next((stats["pool"] for stats in replies.values()), {})


@pytest.mark.parametrize(
    ("arguments", "implementation"),
    [
        ([], OURS),
        (["-P", "threads"], OURS),
        (["-P", "prefork"], OURS),
        (["-P", "processes"], PREFORK),
    ],
)
def test_each_spelling_of_the_pool_starts_the_one_it_names(start_worker, producer, arguments, implementation):
    worker = start_worker(*arguments)

    pool = worker.until(lambda: pool_of(producer), "the worker's statistics")

    assert pool["implementation"] == implementation
    assert pool["max-concurrency"] == 4


@pytest.mark.chaos
def test_every_slot_comes_back_after_an_outage_of_the_result_backend(
    server, results, start_worker, producer, bell
):
    worker = start_worker(RESULTS=results.url)
    for _ in range(4):
        producer.send_task("work", bell.heard)
    worker.until_events("started", 4)

    results.kill()
    bell.ring()
    worker.until_events("ended", 4)
    worker.until_log("Connection refused")
    results.start()

    after = [producer.send_task("nap", (0.1,)) for _ in range(4)]
    for each in after:
        worker.until(lambda id=each.id: results.outcome(id) == "SUCCESS", "later tasks to succeed")
    worker.until(server.settled, "every message to be acknowledged")


def test_a_task_that_exits_fails_and_gives_its_slot_back(server, start_worker, producer):
    worker = start_worker("-c", "1")

    exits = [producer.send_task("leave_by_exit") for _ in range(2)]
    after = producer.send_task("nap", (0.1,))

    worker.until(lambda: server.outcome(after.id) == "SUCCESS", "the next task to succeed")
    assert [server.outcome(each.id) for each in exits] == ["FAILURE", "FAILURE"]
    worker.until(server.settled, "the messages to be acknowledged")


def test_a_task_that_runs_out_of_memory_runs_again(server, start_worker, producer, tmp_path):
    worker = start_worker("-c", "1")

    result = producer.send_task("out_of_memory_once", (str(tmp_path / "marker"),))

    worker.until_events("started", 2)
    worker.until(lambda: server.outcome(result.id) == "SUCCESS", "the task to succeed")
    worker.until(server.settled, "the message to be acknowledged")


def test_a_pool_grows_and_shrinks_on_request(start_worker, producer, bell):
    worker = start_worker("-c", "1")
    producer.control.pool_grow(2)
    for _ in range(3):
        producer.send_task("work", bell.heard)
    worker.until_events("started", 3)

    reply = producer.control.pool_shrink(2, destination=["w1@test"], reply=True, timeout=60)

    assert [answer["ok"] for each in reply for answer in each.values()] == ["pool will shrink"]
    bell.ring()
    worker.until_events("ended", 3)
    for _ in range(2):
        producer.send_task("nap", (0.5,))
    worker.until_events("ended", 5)
    fourth, fifth = worker.events("started")[3:], worker.events("ended")[3:]
    assert fourth[1]["at"] >= fifth[0]["at"], "one at a time after shrinking"


def test_a_pool_is_not_shrunk_to_nothing(server, start_worker, producer):
    worker = start_worker("-c", "1")

    producer.control.pool_shrink(1)

    worker.until_log("at least 1 must stay")
    after = producer.send_task("nap", (0.1,))
    worker.until(lambda: server.outcome(after.id) == "SUCCESS", "the next task to succeed")


def test_autoscaling_follows_the_load(start_worker, producer, bell):
    worker = start_worker("--autoscale", "4,1", AUTOSCALE_KEEPALIVE="1")

    for _ in range(4):
        producer.send_task("work", bell.heard)

    worker.until_events("started", 4)
    bell.ring()
    worker.until_events("ended", 4)
    worker.until(lambda: pool_of(producer).get("max-concurrency") == 1, "the pool to shrink again")


def test_sixty_tasks_at_once_share_one_result_backend(server, start_worker, producer):
    """With a backend for each thread, as Celery has it, there would be sixty connections more."""
    worker = start_worker("-c", "60", CONCURRENCY="60")
    with server.client() as client:
        idle = len(client.client_list())
    naps = [producer.send_task("nap", (1 + number / 20,)) for number in range(60)]

    for each in naps:
        worker.until(lambda id=each.id: server.outcome(id) == "SUCCESS", "every result")

    worker.until(server.settled, "the messages to be acknowledged")
    with server.client() as client:
        assert len(client.client_list()) - idle < 30


def test_tasks_that_come_due_leave_the_slots_that_their_queue_leaves_to_others(
    server, start_worker, producer, bell
):
    worker = start_worker("-c", "4", BATCH_LEAVES="0.25")
    late = [producer.send_task("work", bell.heard, queue="batch", countdown=0.5) for _ in range(6)]
    worker.until_events("started", 3)
    worker.until(lambda: server.held() == 6, "all that come due to be held by the worker")

    quick = producer.send_task("nap", (0.1,), queue="interactive")
    worker.until(lambda: worker.events("ended", quick.id), "the interactive task to end")

    assert len(worker.events("started")) == 3 + 1
    bell.ring()
    worker.until_events("ended", len(late) + 1)
    worker.until(server.settled, "every message to be acknowledged")
