"""What was enqueued is followed by waiting, with `await`, or event by event."""

import asyncio
import threading
from contextlib import nullcontext

import pytest

from cf_workers.client import ExecutionHandle, RunHandle
from cf_workers.errors import (
    CallRejectedError,
    CancelledError,
    UnknownRunError,
    WaitTimeoutError,
    describe_error,
)
from cf_workers.workflows.history import History
from cf_workers.workflows.outcome import Outcome
from tests.support.engine import FAILED, SUCCEEDED, plan


class Remote:
    """What a handle asks of its client."""

    def __init__(self):
        self.asked = []

    reaching = staticmethod(nullcontext)

    def cancel(self, run):
        self.asked.append(("cancel", run))

    def retry(self, run):
        self.asked.append(("retry", run))


class Scripted(History):
    """A history in which something happens at a certain look at the status."""

    def __init__(self, engine, **at):
        super().__init__(engine.client, engine.keys, engine.definitions)
        self._at = {int(look.removeprefix("look")): do for look, do in at.items()}
        self.looks = 0

    def status(self, run):
        self.looks += 1
        self._at.get(self.looks, lambda: None)()
        return super().status(run)


@pytest.fixture
def started(engine):
    return engine.record(plan("greeter"), run="r1")


def end(engine, header, outcome=SUCCEEDED):
    def do():
        engine.finish_step(header, "greeter", outcome)
        engine.store.finish(header.run, 1)

    return do


def test_a_handle_knows_its_id_and_where_things_stand(engine, started):
    handle = RunHandle(Remote(), engine.history, "r1")

    assert (handle.id, handle.status(), handle.done()) == ("r1", "pending", False)
    assert repr(handle) == "<RunHandle 'r1'>"
    end(engine, started)()
    assert (handle.status(), handle.done()) == ("succeeded", True)


def test_a_handle_of_nothing_says_so(engine):
    with pytest.raises(UnknownRunError):
        RunHandle(Remote(), engine.history, "nobody").result(timeout=0.1)


def test_cancel_and_retry_go_to_the_client(engine, started):
    remote = Remote()
    handle = RunHandle(remote, engine.history, "r1")

    handle.cancel()
    handle.retry()

    assert remote.asked == [("cancel", "r1"), ("retry", "r1")]


def test_the_result_is_there_at_once_when_it_has_ended(engine, started):
    end(engine, started)()

    assert RunHandle(Remote(), engine.history, "r1").result(timeout=0).status == "succeeded"


def test_a_wait_that_is_too_short_says_that_the_work_goes_on(engine, started):
    handle = RunHandle(Remote(), engine.history, "r1")

    with pytest.raises(WaitTimeoutError, match=r"'r1' had not ended after 0\.05 s; it goes on") as caught:
        handle.wait(timeout=0.05)

    assert "runs watch r1" in caught.value.hint
    assert handle.status() == "pending"


def test_a_run_that_ends_right_after_a_look_ends_the_wait_at_once(engine, started):
    class EndsAfterTheFirstLook(Scripted):
        def status(self, run):
            seen = super().status(run)
            if self.looks == 1:
                end(engine, started)()
            return seen

    waiting = EndsAfterTheFirstLook(engine)

    RunHandle(Remote(), waiting, "r1").wait(timeout=60)

    assert waiting.looks == 2


def test_a_run_without_events_is_waited_for_as_well(engine, started):
    engine.client.delete(engine.keys.run("r1").events)

    with pytest.raises(WaitTimeoutError):
        RunHandle(Remote(), engine.history, "r1").wait(timeout=0.02)


def test_a_wait_wakes_as_soon_as_something_happens(engine, started):
    timer = threading.Timer(0.1, end(engine, started))
    timer.start()
    try:
        result = RunHandle(Remote(), engine.history, "r1").result(timeout=60)
    finally:
        timer.join()

    assert result.success


def test_a_failed_run_has_a_result_like_any_other(engine, started):
    end(engine, started, FAILED)()

    assert RunHandle(Remote(), engine.history, "r1").result().status == "failed"


# executions


def test_an_execution_gives_its_answer(engine, started):
    end(engine, started)()

    assert ExecutionHandle(Remote(), engine.history, "r1").result().output == "fine"


def test_a_failed_execution_raises_its_error(engine, started):
    error = CallRejectedError("too long", {"status": 400})
    outcome = Outcome("failed", 1, {"error": describe_error(error)}, counts_against_run=True)
    end(engine, started, outcome)()

    with pytest.raises(CallRejectedError, match="too long") as caught:
        ExecutionHandle(Remote(), engine.history, "r1").result()
    assert caught.value.status == 400


@pytest.mark.parametrize("begun", [False, True])
def test_a_cancelled_execution_raises_that_it_was_cancelled(engine, started, begun):
    if begun:
        claim = engine.claim(started, "greeter")
        engine.store.stop("r1", "cancelled")
        error = {"type": "cancel", "message": "the run is stopping"}
        engine.store.commit(claim, Outcome("cancelled", 0, {"error": error}))
    else:
        engine.store.stop("r1", "cancelled")
    engine.store.finish("r1", 1)

    with pytest.raises(CancelledError):
        ExecutionHandle(Remote(), engine.history, "r1").result()


# with await


def test_a_handle_can_be_awaited(engine, started):
    waiting = Scripted(engine, look3=end(engine, started))

    async def main():
        return await RunHandle(Remote(), waiting, "r1")

    assert asyncio.run(main()).status == "succeeded"
    assert waiting.looks >= 3


def test_awaiting_blocks_nobody_else(engine, started):
    waiting = Scripted(engine, look4=end(engine, started))
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0.005)

    async def main():
        other = asyncio.create_task(tick())
        result = await RunHandle(Remote(), waiting, "r1")
        other.cancel()
        return result

    assert asyncio.run(main()).success
    assert len(ticks) > 3


def test_an_awaited_execution_raises_its_error(engine, started):
    outcome = Outcome(
        "failed", 1, {"error": describe_error(CallRejectedError("no"))}, counts_against_run=True
    )
    end(engine, started, outcome)()

    async def main():
        await ExecutionHandle(Remote(), engine.history, "r1")

    with pytest.raises(CallRejectedError):
        asyncio.run(main())


# events


def test_events_come_in_order_until_the_run_has_ended(engine, started):
    end(engine, started)()

    seen = [event.type for event in RunHandle(Remote(), engine.history, "r1").events()]

    assert (seen[0], seen[-1], len(seen)) == ("run.created", "run.finished", 5)


@pytest.mark.parametrize("look", ["look1", "look2"])
def test_no_event_is_missed_with_async_for(engine, started, look):
    watching = Scripted(engine, **{look: end(engine, started)})

    async def main():
        return [event.type async for event in RunHandle(Remote(), watching, "r1").events()]

    seen = asyncio.run(main())

    assert seen == ["run.created", "run.started", "step.started", "step.succeeded", "run.finished"]
