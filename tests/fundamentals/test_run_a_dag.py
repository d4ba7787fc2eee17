"""A workflow whose steps name what they depend on: everything runs as soon as it may."""

import re

import pytest

from tests.support.stack import step, user_text

pytestmark = pytest.mark.integration


def test_a_step_sees_the_outputs_of_its_dependencies_labelled_in_the_order_it_names_them(stack, project):
    project.workflow(
        "quality",
        step("linter"),
        step("types", agent="tester"),
        step("security"),
        step("final", "types", "security", "linter", agent="reviewer"),
    )

    result = stack.client(project).start_workflow("quality").result(timeout=60)

    assert result.status == "succeeded"
    assert result.execution_order[-1] == "final"
    (final,) = stack.calls("do final")
    labels = re.findall(r'<<< begin \w+ output of step "(.+)" by agent "(.+)"', user_text(final))
    assert labels == [("types", "tester"), ("security", "writer"), ("linter", "writer")]
    positions = [user_text(final).index(result.results[name].output) for name, _ in labels]
    assert positions == sorted(positions)


def test_steps_that_do_not_depend_on_each_other_run_at_the_same_time(stack, project):
    stack.simulator.configure(latency=3)
    project.workflow("wide", *(step(f"s{n}") for n in range(6)), step("end", *(f"s{n}" for n in range(6))))

    result = stack.client(project).start_workflow("wide").result(timeout=60)

    assert result.success
    assert stack.simulator.stats().peak_in_flight == 6


def test_a_step_sees_its_own_task_and_that_of_the_run(stack, project):
    project.workflow("one", step("only", task="Count the words"))

    stack.client(project).start_workflow("one", "of this text").result(timeout=60)

    (call,) = stack.calls()
    assert "Count the words\n\nof this text" in user_text(call)


def test_a_workflow_may_come_as_a_mapping_instead_of_from_the_project(stack, project):
    workflow = {"name": "made up", "steps": [step("a"), step("b", "a", agent="reviewer")]}

    result = stack.client(project).start_workflow(workflow).result(timeout=60)

    assert (result.workflow_name, result.execution_order) == ("made up", ["a", "b"])
