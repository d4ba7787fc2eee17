"""Stop a run or an execution: nothing more is started, calls in flight are cut."""

import pytest

from cf_workers.errors import CancelledError
from tests.support import eventually
from tests.support.stack import step

pytestmark = pytest.mark.integration


def test_a_cancelled_run_stops(stack, project):
    stack.simulator.configure(latency=30)
    run = stack.client(project.workflow("slow", step("a"), step("b", "a"))).start_workflow("slow")
    stack.eventually_called("do a")

    run.cancel()
    result = run.result(timeout=60)

    assert result.status == "cancelled"
    assert {name: one.status for name, one in result.results.items()} == {"a": "cancelled", "b": "cancelled"}
    assert stack.calls("do b") == []


def test_a_cancelled_execution_stops(stack, project):
    stack.simulator.configure(latency=30)
    handle = stack.client(project).submit("writer", "Say hello")
    stack.eventually_called("Say hello")

    handle.cancel()

    with pytest.raises(CancelledError):
        handle.result(timeout=60)
    eventually(lambda: stack.calls("Say hello")[0].disconnected, "the call to be cut")


def test_cancelling_what_has_ended_changes_nothing(stack, project):
    handle = stack.client(project).submit("writer", "Say hello")
    output = handle.result(timeout=60).output

    handle.cancel()

    assert handle.status() == "succeeded"
    assert handle.result().output == output
