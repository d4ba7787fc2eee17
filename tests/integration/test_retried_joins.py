"""A join that is run again waits for all of its parts, and a blip while a part is reported costs nothing."""

import pytest

from cf_workers.simulator import ScriptedFault
from tests.support.stack import step

pytestmark = pytest.mark.integration

SLOW = "[[sim latency=1]]"


def test_the_join_of_a_retried_run_fires_after_all_its_parts(stack, project):
    """Celery keeps the failure of an earlier attempt under the group's id; ours names the attempt."""
    project.workflow(
        "again",
        step("quick", task="do quick"),
        step("slow", task=f"do slow {SLOW}"),
        step("join", "quick", "slow", task="do join"),
    )
    stack.simulator.set_faults(*(ScriptedFault("400", contains=f"do {name}") for name in ("quick", "slow")))
    run = stack.client(project).start_workflow("again")
    first = run.result(timeout=60)
    assert {name: one.status for name, one in first.results.items()} == {
        "quick": "failed",
        "slow": "failed",
        "join": "skipped",
    }

    run.retry()
    second = run.result(timeout=60)

    assert second.status == "succeeded"
    (asked,) = stack.calls("do join")
    ended = [second.document["results"][name]["finished_at"] for name in ("quick", "slow")]
    assert asked.received_at >= max(ended)
    assert max(ended) - min(ended) > 0.5


def test_a_join_that_failed_itself_is_run_again_without_its_parts(stack, project):
    project.workflow("again", step("a"), step("b"), step("join", "a", "b"))
    stack.simulator.set_faults(ScriptedFault("400", contains="do join"))
    run = stack.client(project).start_workflow("again")
    assert run.result(timeout=60).results["join"].status == "failed"

    run.retry()

    assert run.result(timeout=60).status == "succeeded"
    assert [len(stack.calls(f"do {name}")) for name in ("a", "b", "join")] == [1, 1, 2]


BLIPPING_WORKER = """
import sys
import redis
from celery.__main__ import main
from celery.backends.redis import RedisBackend

report = RedisBackend.on_chord_part_return
seen = set()

def blip(self, request, *args, **kwargs):
    if request.id not in seen:
        seen.add(request.id)
        self.client.connection_pool.disconnect()
        print("BLIP", request.id, flush=True)
        raise redis.ConnectionError("the server is away")
    return report(self, request, *args, **kwargs)

RedisBackend.on_chord_part_return = blip
sys.argv = ["celery", "-A", "cf_workers", "worker", "-l", "INFO", "--without-mingle", "-E"]
main()
"""


def test_a_blip_while_a_part_is_reported_does_not_turn_a_success_into_a_failure(own_stack, project):
    """Stock Celery stores the success and fails the join; ours has committed before, and reports again."""
    project.workflow("blip", step("a"), step("b"), step("join", "a", "b"), step("after", "join"))
    run = own_stack.client(project).start_workflow("blip")
    worker = own_stack.script(BLIPPING_WORKER, cwd=project.root)
    worker.wait_for(" ready.")

    result = run.result(timeout=60)

    assert "BLIP" in worker.output()
    assert "release.failed" in worker.output()
    assert {name: one.status for name, one in result.results.items()} == dict.fromkeys(
        ("a", "b", "join", "after"), "succeeded"
    )
    assert len(own_stack.calls()) == 4
    assert [event.type for event in run.events()].count("step.succeeded") == 4
    assert "raised unexpected" not in worker.output()
