"""One agent, one task, one answer."""

import pytest

pytestmark = pytest.mark.integration


def test_an_agent_is_run_on_a_worker_and_its_answer_comes_back(stack, project):
    client = stack.client(project)

    handle = client.submit("reviewer", "Review this diff: -1 +2")
    result = handle.result(timeout=60)

    assert result.agent_name == "reviewer"
    assert result.output
    assert result.metadata["attempts"] == 1
    assert result.metadata["tokens_used"] > 0
    assert result.metadata["estimated_cost"] > 0
    assert handle.status() == "succeeded"
    (call,) = stack.calls()
    assert "Review this diff: -1 +2" in call.body


def test_many_are_run_at_once_and_come_back_in_order_an_invalid_one_among_them(stack, project):
    client = stack.client(project)

    outcomes = client.execute_many([("writer", "one"), ("nobody", "two"), ("tester", "three")], timeout=60)

    assert [outcome.ok for outcome in outcomes] == [True, False, True]
    assert [outcomes[n].unwrap().agent_name for n in (0, 2)] == ["writer", "tester"]
    assert "nobody" in str(outcomes[1].error)
    assert len(stack.calls()) == 2
