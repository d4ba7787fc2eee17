"""The client in an event loop."""

import asyncio

import pytest

from tests.support.stack import step

pytestmark = pytest.mark.integration


def test_handles_can_be_awaited_many_at_once(stack, project):
    client = stack.client(project.workflow("short", step("a")))

    async def main():
        run = client.start_workflow("short")
        executions = [client.submit("writer", f"Say {n}") for n in range(5)]
        return await asyncio.gather(run, *executions)

    run, *executions = asyncio.run(main())

    assert run.status == "succeeded"
    assert len({execution.id for execution in executions}) == 5


def test_events_can_be_followed_with_async_for(stack, project):
    client = stack.client(project.workflow("short", step("a"), step("b", "a")))

    async def main():
        return [event.type async for event in client.start_workflow("short").events()]

    types = asyncio.run(main())

    assert types[0] == "run.created"
    assert types[-1] == "run.finished"
    assert types.count("step.succeeded") == 2
