"""`celery -A cf_workers worker` with every pool that is supported."""

import pytest

from tests.support.stack import step

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
