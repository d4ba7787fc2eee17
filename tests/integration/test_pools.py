"""`celery -A cf_workers worker` with every pool that is supported."""

import pytest

from tests.support import eventually
from tests.support.stack import QUICK_TO_BURY, step

pytestmark = pytest.mark.integration


@pytest.fixture
def workflow(project):
    return project.workflow(
        "diamond",
        step("a"),
        step("b", "a"),
        step("c", "a", task="do c [[sim fail=529 times=1]]"),
        step("d", "b", "c"),
    )


@pytest.mark.parametrize(("arguments", "threads"), [("", 100), ("-P threads", 100), ("-P prefork -c 4", 4)])
def test_no_pool_and_threads_and_what_celery_turns_prefork_into_are_our_pool(
    own_stack, workflow, arguments, threads
):
    worker = own_stack.worker(*arguments.split(), cwd=workflow.root)

    result = own_stack.client(workflow).start_workflow("diamond").result(timeout=60)

    assert result.status == "succeeded"
    assert len(own_stack.calls()) == 5
    assert f"concurrency: {threads} (pool)" in worker.output()


def test_processes_run_a_workflow_to_the_end(own_stack, workflow):
    worker = own_stack.worker("-P", "processes", "-c", "2", cwd=workflow.root)
    client = own_stack.client(workflow)

    result = client.start_workflow("diamond").result(timeout=60)

    assert result.status == "succeeded"
    assert result.results["c"].attempts == 2
    assert len(own_stack.calls()) == 5
    assert client.submit("writer", "Say hello").result(timeout=60).output
    assert "concurrency: 2 (prefork)" in worker.output()


def test_a_process_that_is_killed_at_its_time_limit_costs_a_call_and_no_run(own_stack, workflow):
    """Celery ends the process in the middle of its call; once its lease is over, another asks again."""
    own_stack.settings |= QUICK_TO_BURY
    own_stack.simulator.configure(hold=True)
    worker = own_stack.worker("-P", "processes", "-c", "2", "--time-limit", "8", cwd=workflow.root)
    run = own_stack.client(workflow).submit("writer", "Take your time")

    worker.wait_for("Hard time limit (8.0s) exceeded", timeout=90)
    own_stack.simulator.configure(hold=False)

    assert run.result(timeout=90).output
    lost = own_stack.client(workflow).history.document(run.id)["lost_calls"]
    assert len(own_stack.calls()) == 1 + lost
    eventually(lambda: own_stack.messages_left() == 0, "every message to be acknowledged", timeout=60)
