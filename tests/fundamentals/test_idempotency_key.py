"""The same key means the same work, however often it is sent."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.support.stack import step

pytestmark = pytest.mark.integration

KEY = uuid4().hex


def test_a_second_start_with_the_same_key_is_the_first_one(stack, project):
    client = stack.client(project.workflow("short", step("a"), step("b"), step("c", "a", "b")))

    with ThreadPoolExecutor(8) as threads:
        starts = [threads.submit(client.start_workflow, "short", idempotency_key=KEY) for _ in range(8)]
        runs = {start.result().id for start in starts}

    (run,) = runs
    assert client.run(run).result(timeout=60).success
    assert len(stack.calls()) == 3
    assert client.start_workflow("short", idempotency_key=KEY).id == run
    assert client.start_workflow("short", idempotency_key=f"{KEY} again").id != run


def test_a_second_submission_with_the_same_key_is_the_first_one(stack, project):
    client = stack.client(project)

    handles = [client.submit("writer", "Say hello", idempotency_key=f"greeting {KEY}") for _ in range(3)]

    assert len({handle.id for handle in handles}) == 1
    assert len({handle.result(timeout=60).output for handle in handles}) == 1
    assert len(stack.calls()) == 1
