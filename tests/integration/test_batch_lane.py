"""The batch lane with real workers, a real server, and the stand-in for the provider."""

import json

import pytest

from cf_workers.planning import WorkflowOptions
from cf_workers.simulator import ScriptedFault
from tests.support.stack import QUICK_TO_BURY, step
from tests.support.waiting import eventually

PATIENCE = 60.0
BATCHES = "/v1/messages/batches"
AT_ONCE = {
    "CF_WORKERS_BATCHES__LINGER_SECONDS": "0.5",
    "CF_WORKERS_BATCHES__POLL_SECONDS": "0.5",
    "CF_WORKERS_BATCHES__BUSY_SECONDS": "0.5",
}
"""What tests change so as not to wait; a batch lasts until the test ends it."""


@pytest.fixture
def stack(own_stack):
    own_stack.settings |= {**AT_ONCE, **QUICK_TO_BURY}
    own_stack.simulator.configure(batch_seconds=86_400)
    return own_stack


def waits_for(client, run, step):
    return client.history.document(run)["results"][step]["waits_for"] or ""


def submitted(client, run, *steps):
    """Wait until these steps are in a batch; which one."""

    def found():
        said = {waits_for(client, run, one) for one in steps}
        return said.pop() if len(said) == 1 and next(iter(said)).startswith("in batch") else None

    return eventually(found, "the steps to be in a batch", timeout=PATIENCE).removeprefix("in batch ")


def test_a_workflow_in_the_batch_lane_holds_no_slot_and_costs_half(stack, project):
    """Both levels go through a batch each; the same workflow asked at once costs twice as much."""
    project.workflow("night", step("a"), step("b"), step("end", "a", "b"))
    client = stack.client(project)
    worker = stack.worker("-c", "2", cwd=project.root)
    run = client.start_workflow("night", options=WorkflowOptions(lane="batch"))

    batch = submitted(client, run.id, "a", "b")
    assert run.status() == "parked"
    eventually(lambda: stack.messages_left() == 0, "nothing but polls to come by", timeout=PATIENCE)
    day = client.start_workflow("night")
    assert day.result(timeout=PATIENCE).status == "succeeded", "the worker's slots are free"

    shown = stack.processes.python("-m", "cf_workers", "runs", "show", run.id, env=stack.environ, until=None)
    shown.wait(timeout=PATIENCE)
    assert f"in batch {batch}" in shown.tail()

    stack.simulator.end_batches()
    submitted(client, run.id, "end")
    stack.simulator.end_batches()
    result = run.result(timeout=PATIENCE)
    document = client.history.document(run.id)
    dear = client.history.document(day.id)
    assert result.status == "succeeded"
    assert document["results"]["a"]["metadata"]["batch"] == batch
    assert document["estimated_cost"] == pytest.approx(dear["estimated_cost"] / 2, rel=0.05)
    assert stack.simulator.stats().paid_rows == 3
    done = worker.output()
    assert all(done.count(f"execute_step[{run.id}:{name}] succeeded") == 1 for name in ("a", "b", "end"))


def test_a_worker_killed_around_a_submission_neither_loses_nor_doubles_a_row(stack, project):
    """The provider makes the batch and nobody hears of it; then the worker is killed."""
    project.workflow("night", *(step(f"s{n}") for n in range(20)))
    stack.settings["CF_WORKERS_BATCHES__SUBMIT_TIMEOUT_SECONDS"] = "5"
    stack.settings["CF_WORKERS_BATCHES__SETTLE_SECONDS"] = "1"
    stack.simulator.set_faults(
        ScriptedFault("lost_reply", path=BATCHES, contains=f"POST {BATCHES}"),
        *(ScriptedFault("expired", path="batch-row", contains=f"do s{n}\\n") for n in (3, 7)),
    )
    client = stack.client(project)
    worker = stack.worker(cwd=project.root)
    run = client.start_workflow("night", options=WorkflowOptions(lane="batch"))
    made = lambda: stack.simulator.stats().by_path.get(BATCHES)  # noqa: E731
    eventually(made, "a submission", timeout=PATIENCE)

    worker.kill()
    stack.worker(cwd=project.root)
    eventually(lambda: (stack.simulator.end_batches(), run.status() == "succeeded")[1], "the end", timeout=90)

    rows = stack.simulator.rows()
    paid = [row.text for row in rows if row.outcome == "succeeded"]
    assert len(paid) == len(set(paid)) == 20
    assert sorted(row.outcome for row in rows) == ["expired"] * 2 + ["succeeded"] * 20
    document = client.history.document(run.id)
    assert document["estimated_cost"] > 0
    assert {result["metadata"]["batch"] is not None for result in document["results"].values()} == {True}
    assert json.dumps(document["results"]).count('"cached": true') == 0
