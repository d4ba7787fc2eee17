"""A run that failed goes on where it stopped: what succeeded is not asked again."""

import pytest

from cf_workers.errors import InputError
from cf_workers.simulator import ScriptedFault
from tests.support.stack import step

pytestmark = pytest.mark.integration


@pytest.fixture
def workflow(project):
    return project.workflow(
        "release", step("build"), step("test", "build"), step("docs", "build"), step("ship", "test", "docs")
    )


def test_only_what_did_not_succeed_runs_again(stack, workflow):
    stack.simulator.set_faults(ScriptedFault("400", contains="do test"))
    run = stack.client(workflow).start_workflow("release")
    assert run.result(timeout=60).status == "failed"

    run.retry()
    result = run.result(timeout=60)

    assert result.status == "succeeded"
    assert {name: one.status for name, one in result.results.items()} == dict.fromkeys(
        ("build", "test", "docs", "ship"), "succeeded"
    )
    calls = stack.calls_by_task("do build", "do test", "do docs", "do ship")
    assert calls == {"do build": 1, "do test": 2, "do docs": 1, "do ship": 1}
    assert sorted(result.execution_order) == ["build", "docs", "ship", "test"]
    (ship,) = stack.calls("do ship")
    assert result.results["docs"].output.splitlines()[0] in ship.body


def test_a_run_that_succeeded_or_is_still_active_is_not_run_again(stack, workflow):
    stack.simulator.configure(latency=0.5)
    run = stack.client(workflow).start_workflow("release")

    with pytest.raises(InputError, match="still active"):
        run.retry()
    run.result(timeout=60)
    with pytest.raises(InputError, match="nothing to retry"):
        run.retry()

    assert len(stack.calls()) == 4


def test_an_execution_that_failed_is_run_again(stack, workflow):
    stack.simulator.set_faults("400")
    client = stack.client(workflow)
    execution = client.submit("writer", "Say hello")
    execution.wait(20)
    assert execution.status() == "failed"

    client.retry(execution.id)

    assert execution.result(timeout=60).output
    assert len(stack.calls()) == 2
