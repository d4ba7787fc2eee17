"""What Celery's own chords do where our joins hold, for comparison; by hand, and expected to fail:

STOCK=1 pytest -m slow tests/integration/reliability/test_chords.py

The same rules with our joins: tests/integration/test_retried_joins.py and tests/integration/test_joins.py.
"""

from __future__ import annotations

import os

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("STOCK") != "1", reason="about Celery as shipped: STOCK=1"),
]


def body_of(worker):
    return worker.until_events("composed")[0]["body"]


def test_a_blip_while_a_part_is_reported_does_not_turn_a_success_into_a_failure(
    server, start_worker, producer, tmp_path
):
    worker = start_worker(BLIP="1")

    producer.send_task("compose", ("join", str(tmp_path), str(tmp_path)))

    body = body_of(worker)
    worker.until_events("ended", 2)
    worker.until(lambda: server.outcome(body), "an outcome of the join")
    assert server.outcome(body) == "SUCCESS"


def test_a_join_that_is_run_again_waits_for_all_its_parts(server, start_worker, producer, tmp_path, bell):
    worker = start_worker()
    again = ("join", *bell.heard, str(tmp_path))
    producer.send_task("compose", again)
    body = body_of(worker)
    worker.until(lambda: server.outcome(body) == "FAILURE", "the join to fail, as its part did")
    worker.until_events("ended")

    bell.ring()
    producer.send_task("compose", again)

    worker.until_events("ended", 3)
    worker.until_events("joined")
    assert server.outcome(body) == "SUCCESS"
