"""The id of a run is also that of an ordinary Celery result."""

import pytest
from celery import Celery

from cf_workers.errors import CallRejectedError, RunCancelledError, RunFailedError
from cf_workers.simulator import ScriptedFault
from tests.support.stack import step

pytestmark = pytest.mark.integration


@pytest.fixture
def celery(stack):
    app = Celery("somebody", backend=stack.store.url, set_as_current=False)
    yield app
    app.close()


def test_it_is_there_when_the_run_has_ended(stack, project, celery):
    run = stack.client(project.workflow("short", step("a"))).start_workflow("short")

    document = celery.AsyncResult(run.id).get(timeout=60)

    assert (document["run_id"], document["status"]) == (run.id, "succeeded")
    assert run.done()


def test_it_raises_what_made_the_run_fail_and_follows_a_retry(stack, project, celery):
    stack.simulator.set_faults(ScriptedFault("400"))
    run = stack.client(project.workflow("short", step("a"))).start_workflow("short")

    with pytest.raises(RunFailedError, match="1 of 1 steps failed: a"):
        celery.AsyncResult(run.id).get(timeout=60)
    run.retry()

    assert celery.AsyncResult(run.id).get(timeout=60)["status"] == "succeeded"


def test_it_raises_when_the_run_was_cancelled(stack, project, celery):
    stack.simulator.configure(latency=30)
    run = stack.client(project.workflow("short", step("a"))).start_workflow("short")
    stack.eventually_called("do a")

    run.cancel()

    with pytest.raises(RunCancelledError):
        celery.AsyncResult(run.id).get(timeout=60)


def test_that_of_an_execution_is_its_document_or_its_error(stack, project, celery):
    stack.simulator.set_faults(ScriptedFault("400", contains="fail"))
    client = stack.client(project)

    document = celery.AsyncResult(client.submit("writer", "Say hello").id).get(timeout=60)

    assert (document["agent_name"], document["success"]) == ("writer", True)
    with pytest.raises(CallRejectedError):
        celery.AsyncResult(client.submit("writer", "fail").id).get(timeout=60)


def test_it_outlives_a_refused_retry(stack, project, celery):
    client = stack.client(project.workflow("short", step("a")))
    run = client.start_workflow("short")
    celery.AsyncResult(run.id).get(timeout=60)

    with pytest.raises(Exception, match="nothing to retry"):
        run.retry()

    assert celery.AsyncResult(run.id).get(timeout=60)["status"] == "succeeded"
