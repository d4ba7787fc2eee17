"""Large graphs."""

from collections import Counter

import pytest

from tests.support.stack import step

pytestmark = pytest.mark.integration


def test_a_fan_out_of_five_hundred_runs_to_the_end_exactly_once(stack, project):
    names = [f"s{n:03d}" for n in range(500)]
    project.workflow("wide", *(step(name) for name in names), step("end", *names))

    result = stack.client(project).start_workflow("wide").result(timeout=60)

    assert result.status == "succeeded"
    assert len(result.execution_order) == 501
    assert result.execution_order[-1] == "end"
    bodies = Counter(call.body_sha256 for call in stack.calls())
    assert len(bodies) == 501
    assert set(bodies.values()) == {1}
    (end,) = stack.calls("do end")
    positions = [end.body.index(f'output of step \\"{name}\\"') for name in names]
    assert positions == sorted(positions)


def test_a_chain_of_fifteen_hundred_steps_is_accepted_begins_and_stops(stack, project):
    steps = [step("s0"), *(step(f"s{n}", f"s{n - 1}") for n in range(1, 1500))]
    run = stack.client(project.workflow("long", *steps)).start_workflow("long")

    stack.eventually_called("do s3")
    run.cancel()
    result = run.result(timeout=60)

    assert result.status == "cancelled"
    assert len(result.results) == 1500
    assert result.execution_order[:4] == ["s0", "s1", "s2", "s3"]
    assert len(stack.calls()) <= len(result.execution_order) < 1500
