"""Queues leave slots to those served before them."""

import pytest

from cf_workers.reliability import spare_slots
from cf_workers.reliability.cancellation import draining
from cf_workers.reliability.slots import OpenQueues, Slots, note_slots

QUEUES = ("control", "interactive", "batch")


def slots(limit, taken, reserve=0.1, spare=2):
    return Slots(lambda: limit, lambda: taken, reserves={"batch": reserve}, spare={"control": spare})


@pytest.mark.parametrize(
    ("taken", "shut"),
    [
        (0, set()),
        (89, set()),
        (90, {"batch"}),
        (99, {"batch"}),
        (100, {"batch", "interactive"}),
        (101, {"batch", "interactive"}),
        (102, {"batch", "interactive", "control"}),
    ],
)
def test_batch_leaves_a_tenth_and_control_has_slots_on_top(taken, shut):
    assert slots(100, taken).shut(QUEUES) == shut


@pytest.mark.parametrize(
    ("taken", "queue", "room"),
    [(0, "batch", 90), (89, "batch", 1), (90, "batch", 0), (89, "interactive", 11), (100, "control", 2)],
)
def test_a_queue_is_shut_when_what_there_was_room_for_has_been_taken(taken, queue, room):
    assert slots(100, taken).room(queue, QUEUES) == room
    assert (queue in slots(100, taken + room).shut(QUEUES)) is True


def test_a_worker_for_batch_alone_leaves_nothing_free():
    assert slots(100, 99).shut(["batch"]) == frozenset()
    assert slots(100, 100).shut(["batch"]) == {"batch"}


def test_beside_control_alone_batch_still_leaves_its_share():
    assert slots(100, 95).shut(["control", "batch"]) == {"batch"}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_the_smallest_worker_serves_every_queue(limit):
    assert slots(limit, 0, reserve=0.9).shut(QUEUES) == frozenset()


@pytest.mark.parametrize(
    ("limit", "taken", "queues", "spare"),
    [
        (100, 1, QUEUES, 76),
        (100, 77, QUEUES, 0),
        (100, 78, QUEUES, -1),
        (100, 120, QUEUES, -43),
        (100, 77, ["interactive"], 10),
        (4, 1, QUEUES, 1),
        (1, 1, QUEUES, -1),
    ],
)
def test_to_spare_is_what_no_queue_wants_and_the_next_messages_leave(limit, taken, queues, spare):
    assert slots(limit, taken).to_spare(queues) == spare


@pytest.fixture
def worker_here(monkeypatch):
    monkeypatch.setattr("cf_workers.reliability.slots._here", None)
    note_slots(slots(100, 1), lambda: QUEUES)


def test_a_worker_s_process_knows_how_many_slots_it_has_to_spare(worker_here):
    assert spare_slots() == 76


def test_a_worker_that_drains_has_no_slots_to_spare(worker_here, monkeypatch):
    monkeypatch.setattr(draining, "is_set", lambda: True)

    assert spare_slots() < -1000


def test_a_process_without_a_worker_s_slots_has_none_to_spare(worker_here, monkeypatch):
    monkeypatch.setattr("os.getpid", lambda: -1)

    assert spare_slots() < -1000


def test_only_open_queues_are_waited_for_and_all_else_is_the_cycles():
    class Cycle:
        turned = None

        def consume(self, number):
            return list(QUEUES)[:number]

        def rotate(self, last):
            self.turned = last

    cycle = Cycle()
    queues = OpenQueues(cycle, lambda: frozenset({"batch"}))

    queues.rotate("control")

    assert queues.consume(3) == ["control", "interactive"]
    assert cycle.turned == "control"


def test_a_retry_that_is_due_leaves_the_slots_that_its_queue_leaves():
    assert slots(100, 89).may_retry("r1", "batch", QUEUES)
    assert not slots(100, 90).may_retry("r1", "batch", QUEUES)
    assert slots(100, 99).may_retry("r1", "interactive", QUEUES)


def test_new_messages_wait_behind_a_retry_that_is_due():
    taken = [90]
    gate = Slots(lambda: 100, lambda: taken[0], reserves={"batch": 0.1}, spare={"control": 2})
    gate.may_retry("r1", "batch", QUEUES)
    gate.may_retry("r2", "batch", QUEUES)

    taken[0] = 89
    assert gate.shut(QUEUES) == {"batch"}
    assert gate.may_retry("r1", "batch", QUEUES)
    assert gate.shut(QUEUES) == {"batch"}
    assert gate.may_retry("r2", "batch", QUEUES)
    assert gate.shut(QUEUES) == frozenset()


def test_many_retries_that_are_due_ask_no_more_often_than_few():
    gate = slots(100, 95)
    first = gate.pause
    for number in range(5000):
        gate.may_retry(f"r{number}", "batch", QUEUES)

    assert first == pytest.approx(0.1)
    assert 5000 / gate.pause < 600
