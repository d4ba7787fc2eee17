"""Workers are killed in the middle of a step: others finish it, and what was lost is counted."""

import signal
import time

import pytest

from cf_workers.simulator import ScriptedFault
from tests.support import eventually
from tests.support.commands import Commands
from tests.support.stack import QUICK_TO_BURY, step

pytestmark = [pytest.mark.integration, pytest.mark.chaos]


@pytest.fixture
def mortal(own_stack, project):
    """A stack whose workers are declared dead after two seconds."""
    own_stack.settings.update(QUICK_TO_BURY)
    return own_stack


def test_a_killed_workers_steps_are_finished_by_another_and_committed_once(own_stack, project):
    """With the settings as shipped: within thirty seconds."""
    own_stack.simulator.configure(latency=60)
    project.workflow("wide", *(step(f"s{n}") for n in range(4)), step("end", *(f"s{n}" for n in range(4))))
    run = own_stack.client(project).start_workflow("wide")
    victim = own_stack.worker("-n", "victim@test", cwd=project.root)
    own_stack.eventually_called("do s", times=4)
    own_stack.worker("-n", "heir@test", cwd=project.root)
    own_stack.simulator.configure(latency=0)

    killed_at = time.monotonic()
    victim.kill()
    result = run.result(timeout=60)

    assert time.monotonic() - killed_at < 30
    assert result.status == "succeeded"
    assert [event.type for event in run.events()].count("step.succeeded") == 5
    assert sorted(result.execution_order) == ["end", "s0", "s1", "s2", "s3"]
    assert len(own_stack.calls()) == 4 + 5
    assert result.document["lost_calls"] == 4
    assert {result.document["results"][f"s{n}"]["deaths"] for n in range(4)} == {1}


def test_an_execution_of_a_killed_worker_is_finished_by_another(mortal, project):
    mortal.simulator.configure(latency=60)
    handle = mortal.client(project).submit("writer", "Say hello")
    victim = mortal.worker("-n", "victim@test", cwd=project.root)
    mortal.eventually_called("Say hello")
    mortal.simulator.configure(latency=0)

    victim.kill()
    mortal.worker("-n", "heir@test", cwd=project.root)
    result = handle.result(timeout=60)

    assert result.output
    assert len(mortal.calls()) == 2


def test_a_step_that_waits_for_its_next_attempt_survives_the_worker_that_holds_it(mortal, project):
    project.workflow("one", step("a", task="wait [[sim fail=429 retry_after=4 times=1]]"))
    run = mortal.client(project).start_workflow("one")
    victim = mortal.worker("-n", "victim@test", cwd=project.root)
    eventually(lambda: "step.retrying" in [e.type for e in run._history.events(run.id)], "a retry")

    victim.kill()
    mortal.worker("-n", "heir@test", cwd=project.root)
    result = run.result(timeout=60)

    assert result.status == "succeeded"
    assert result.results["a"].attempts == 2
    assert len(mortal.calls()) == 2


def test_a_step_that_kills_three_workers_is_given_up_and_may_be_requeued(mortal, project, tmp_path):
    cf = Commands(tmp_path, project.root, mortal.environ)
    mortal.simulator.configure(latency=60)
    project.workflow("poison", step("a"), step("b", "a"), step("c", "a", rule="all_done"))
    run = mortal.client(project).start_workflow("poison")

    for death in range(1, 4):
        victim = mortal.worker("-n", f"victim{death}@test", cwd=project.root)
        mortal.eventually_called("do a", times=death)
        victim.kill()
    mortal.simulator.configure(latency=0)
    mortal.worker("-n", "heir@test", cwd=project.root)
    result = run.result(timeout=60)

    assert {name: one.status for name, one in result.results.items()} == {
        "a": "failed",
        "b": "skipped",
        "c": "succeeded",
    }
    assert result.results["a"].error["type"] == "LostError"
    assert result.document["lost_calls"] == 3
    assert len(mortal.calls("do a")) == 3
    (letter,) = cf("dlq", "list", "--json").document["dead_letters"]
    assert (letter["run"], letter["step"], letter["agent"]) == (run.id, "a", "writer")
    assert (letter["deaths"], len(set(letter["workers"]))) == (3, 3)

    requeued = cf("dlq", "requeue", run.id, "a", "--json")

    assert requeued.document == {"success": True, "run_id": run.id, "attempt": 2, "steps": ["a", "b"]}
    assert run.result(timeout=60).status == "succeeded"
    assert cf("dlq", "list", "--json").document == {"dead_letters": []}
    assert cf("dlq", "requeue", letter["id"]).code == 2


def test_a_worker_that_was_frozen_and_comes_back_does_not_commit_over_its_heir(mortal, project):

    mortal.simulator.set_faults(ScriptedFault("hang", contains="do a"))
    run = mortal.client(project.workflow("one", step("a"))).start_workflow("one")
    frozen = mortal.worker("-n", "frozen@test", cwd=project.root)
    mortal.eventually_called("do a")
    frozen.signal(signal.SIGSTOP)
    mortal.worker("-n", "heir@test", cwd=project.root)
    result = run.result(timeout=60)
    assert result.status == "succeeded"

    frozen.signal(signal.SIGCONT)
    frozen.wait_for("claim.superseded")

    eventually(lambda: mortal.calls("do a")[0].disconnected, "the frozen worker's call to be cut")
    assert run.result().document == result.document
    assert len(mortal.calls()) == 2
