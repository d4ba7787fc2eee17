"""What is left of runs and executions when their time is over? Nothing."""

import pytest

from cf_workers.errors import UnknownRunError
from tests.support import eventually
from tests.support.stack import step

pytestmark = pytest.mark.integration

NOT_OF_RUNS = (
    *("cfw:runs", "cfw:workers", "cfw:worker:", "cfw:counters", "cfw:reconciler", "cfw:guard"),
    *("cfw:daily:", "cfw:samples:"),
)
"""Lists with one entry a run or a worker, trimmed; totals, also of days; what is alive; what is known of the
provider, and of what executions take."""

IDEMPOTENCY = "cfw:idempotency:"
"""A digest and an id: they stay, and do not stand for a run any more."""


def test_nothing_is_left_of_runs_and_executions_after_their_retention(own_stack, project):
    own_stack.settings["CF_WORKERS_RUNS__RETENTION_SECONDS"] = "2"
    own_stack.simulator.set_faults("529")
    project.workflow("good", step("a"), step("b"), step("join", "a", "b"))
    project.workflow("bad", step("a", task="do a [[sim fail=400]]"), step("b"), step("join", "a", "b"))
    project.workflow("slow", step("a", task="do a [[sim latency=60]]"), step("b"), step("join", "a", "b"))
    own_stack.worker(cwd=project.root)
    client = own_stack.client(project)

    runs = [client.start_workflow(name) for name in ("good", "bad", "slow")]
    runs.append(client.start_workflow("good", idempotency_key="once"))
    assert client.start_workflow("good", idempotency_key="once").id == runs[-1].id
    executions = [client.submit("writer", "Say hello", idempotency_key="greeting") for _ in range(2)]
    own_stack.eventually_called("latency=60")
    runs[2].cancel()
    for handle in (*runs, executions[0]):
        handle.wait(20)
    assert [run.status() for run in runs] == ["succeeded", "failed", "cancelled", "succeeded"]

    def left():
        with own_stack.redis() as redis:
            found = {*redis.scan_iter("cfw:*"), *redis.scan_iter("celery-*")}
        return {key for key in found if not key.startswith((*NOT_OF_RUNS, IDEMPOTENCY))}

    eventually(lambda: not left(), "every key to go")
    with pytest.raises(UnknownRunError):
        runs[0].status()
    fresh = client.start_workflow("good", idempotency_key="once")
    assert fresh.id != runs[-1].id
    assert fresh.result(timeout=60).success
