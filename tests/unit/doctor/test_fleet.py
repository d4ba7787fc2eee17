"""Work that nobody will do, and slots that may not be used, are found out."""

from cf_workers.doctor import ADVICE, OK, PROBLEM, fleet_findings
from cf_workers.reliability.queues import QueueState
from cf_workers.wire import QUEUES

EMPTY = [QueueState(name, 0) for name in QUEUES]
WORKER = {"queues": list(QUEUES), "slots": 100}


def levels(workers, queues=EMPTY, *, cap=None, embedded=False):
    found = fleet_findings(workers, queues, cap=cap, embedded=embedded)
    return {finding.topic: (finding.level, finding.says, finding.do) for finding in found}


def test_a_fleet_that_serves_everything_has_nothing_to_do():
    assert levels([WORKER, WORKER]) == {"workers": (OK, "2 alive", None)}


def test_nobody_alive_is_a_problem_on_a_server_of_one_s_own_only():
    assert levels([])["workers"][0] == PROBLEM
    assert "celery -A cf_workers worker" in levels([])["workers"][2]
    assert levels([], embedded=True)["workers"][0] == OK


def test_messages_in_a_queue_that_nobody_takes_from_are_a_problem():
    found = levels([{"queues": ["control", "interactive"]}], [*EMPTY[:2], QueueState("batch", 7)])

    level, says, do = found["queues"]
    assert (level, "7 messages wait in queue 'batch'" in says) == (PROBLEM, True)
    assert "-Q batch" in do


def test_an_empty_queue_that_nobody_takes_from_is_advice():
    assert levels([{"queues": ["control", "interactive"]}])["queues"][0] == ADVICE


def test_a_cap_below_the_slots_started_is_advice():
    assert levels([WORKER, WORKER], cap=150)["slots"][0] == ADVICE
    assert "slots" not in levels([WORKER], cap=100)
    assert "slots" not in levels([{"queues": list(QUEUES)}], cap=1)
