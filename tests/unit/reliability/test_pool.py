from __future__ import annotations

import threading

import pytest
from billiard.einfo import ExceptionInfo
from celery.exceptions import WorkerLostError, WorkerShutdown

from cf_workers.reliability.cancellation import Reason, token_for
from cf_workers.reliability.ledger import ledger
from cf_workers.reliability.policy import ReliabilityPolicy, attach
from cf_workers.reliability.pool import TaskPool
from tests.support import eventually


class ScriptedTask:
    acks_late = True


class ScriptedMessage:
    def __init__(self, tag):
        self.delivery_tag = tag


class ScriptedRequest:
    """What the pool and Celery's worker state see of a request."""

    def __init__(self, name, succeeding=None):
        self.id = self.name = name
        self.task = ScriptedTask()
        self.message = ScriptedMessage(f"tag-{name}")
        self.acknowledged = False
        self.succeeding = succeeding
        self.succeeded = []
        self.failed = []
        self.rejected = []

    def on_success(self, returned):
        if self.succeeding:
            raise self.succeeding
        self.succeeded.append(returned)
        self.acknowledged = True

    def on_failure(self, info):
        self.failed.append(info)
        self.acknowledged = True

    def reject(self, requeue):
        self.rejected.append(requeue)


class AppOfOnePolicy:
    pass


@pytest.fixture
def pool():
    app = AppOfOnePolicy()
    attach(app, ReliabilityPolicy(requeue_delay=0, abandon_after=0.2))
    pool = TaskPool(2, app=app)
    pool.start()
    yield pool
    pool.terminate()
    ledger.clear()


def apply(pool, request, target):
    return pool.apply_async(
        target, callback=request.on_success, error_callback=request.on_failure, correlation_id=request.id
    )


def raising(error):
    def target():
        raise error

    return target


def test_a_result_reaches_its_request(pool):
    request = ScriptedRequest("ok")

    apply(pool, request, lambda: (0, "done", 0.1))

    eventually(lambda: request.succeeded, "the result")
    assert request.succeeded == [(0, "done", 0.1)]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), WorkerShutdown(0), GeneratorExit()])
def test_what_would_end_a_process_is_the_failure_of_its_task(pool, error):
    request = ScriptedRequest("exits")

    apply(pool, request, raising(error))

    eventually(lambda: request.failed, "the failure")
    assert isinstance(request.failed[0], ExceptionInfo)
    assert isinstance(request.failed[0].exception.exc, WorkerLostError)
    assert request.rejected == []


def test_a_failure_around_the_task_gives_the_message_back(pool, caplog):
    request = ScriptedRequest("infrastructure")

    apply(pool, request, raising(ConnectionError("backend away")))

    eventually(lambda: request.rejected, "the rejection")
    assert request.rejected == [True]
    assert "backend away" in caplog.text


def test_a_failure_after_the_task_gives_the_message_back_and_keeps_the_slot(pool):
    for number in range(6):
        request = ScriptedRequest(f"memory-{number}", succeeding=MemoryError("full"))
        apply(pool, request, lambda: (0, "done", 0.1))
        eventually(lambda request=request: request.rejected == [True], "the rejection")
    after = ScriptedRequest("after")

    apply(pool, after, lambda: (0, "done", 0.1))

    eventually(lambda: after.succeeded, "the task after")


def test_a_message_is_kept_while_its_task_waits_and_runs(pool):
    release = threading.Event()
    requests = [ScriptedRequest(f"kept-{number}") for number in range(3)]
    for request in requests:
        apply(pool, request, lambda: release.wait(5))

    assert ledger.kept() == {"tag-kept-0", "tag-kept-1", "tag-kept-2"}
    release.set()


def test_stopping_for_good_asks_the_tasks_and_lets_their_messages_go(pool):
    request = ScriptedRequest("stopped")
    token = token_for("stopped")
    release = threading.Event()
    apply(pool, request, lambda: release.wait(5))
    eventually(lambda: pool._crew.busy_count == 1, "the task")

    pool.terminate()

    assert token.reason is Reason.DRAINING
    assert ledger.kept() == set()
    release.set()


def test_terminating_the_result_asks_the_task(pool):
    request = ScriptedRequest("terminated")
    result = apply(pool, request, lambda: token_for("terminated").wait(5))

    pool.terminate_job(1, "TERM")
    result.terminate("TERM")

    eventually(lambda: request.succeeded, "the task to end")
    assert request.succeeded == [True]


def test_the_size_follows_and_never_reaches_nothing(pool):
    pool.grow(2)
    assert (pool.num_processes, pool.info["max-concurrency"]) == (4, 4)
    pool.shrink(3)
    assert pool.num_processes == 1

    with pytest.raises(ValueError, match="at least 1 must stay"):
        pool.shrink(1)


def test_a_pool_for_autoscaling_may_start_with_nothing():
    pool = TaskPool(0, app=AppOfOnePolicy())

    pool.grow(1)
    pool.shrink(1)

    assert pool.num_processes == 0
