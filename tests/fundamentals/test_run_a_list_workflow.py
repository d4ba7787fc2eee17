"""A workflow that is a plain list of agents: one after the other, all with the run's task."""

import pytest

from cf_workers.errors import InputError
from cf_workers.planning import WorkflowOptions
from tests.support.stack import user_text

pytestmark = pytest.mark.integration


@pytest.fixture
def client(stack, project):
    return stack.client(project.workflow("review", "writer", "reviewer", "writer"))


def test_agents_follow_each_other_each_with_the_task_and_the_output_before_it(stack, client):
    result = client.start_workflow("review", "Say hello").result(timeout=60)

    assert result.status == "succeeded"
    assert result.execution_order == ["1-writer", "2-reviewer", "3-writer"]
    first, second, third = (user_text(call) for call in stack.calls())
    assert all("Say hello" in text for text in (first, second, third))
    assert result.results["1-writer"].output in second
    assert result.results["2-reviewer"].output in third
    assert result.results["1-writer"].output not in third


def test_outputs_are_kept_back_when_asked_for(stack, client):
    options = WorkflowOptions(pass_output=False)

    result = client.start_workflow("review", "Say hello", options=options).result(timeout=60)

    assert result.success
    assert not [call for call in stack.calls() if "output of step" in user_text(call)]


def test_it_needs_a_task(stack, client):
    with pytest.raises(InputError, match="none was given"):
        client.start_workflow("review")

    assert stack.calls() == []


def test_an_empty_list_succeeds_without_results(stack, project):
    client = stack.client(project.workflow("nothing"))
    client.context.project.workflow("nothing")

    result = client.start_workflow("nothing", "Say hello").result(timeout=60)

    assert (result.status, result.results, result.execution_order) == ("succeeded", {}, [])
