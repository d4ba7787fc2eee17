"""A run executes what its project said when it was started, on workers that know no project at all."""

import pytest

from tests.support.stack import step, system_text

pytestmark = pytest.mark.integration


def test_an_edit_does_not_change_a_run_in_flight_and_is_seen_by_the_next(stack, project):
    stack.simulator.configure(latency=0.5)
    project.agent("writer", "Write briefly.", contract="At most ten words.")
    project.workflow("two", step("a"), step("b", "a"))
    client = stack.client(project)
    run = client.start_workflow("two")
    stack.eventually_called("do a")

    project.agent("writer", "Write at length.", contract="At least ten words.")
    project.workflow("two", step("a", task="do something else"))
    assert run.result(timeout=60).execution_order == ["a", "b"]
    again = client.start_workflow("two").result(timeout=60)

    first, second, third = stack.calls()
    assert system_text(first) == system_text(second)
    assert "Write briefly." in system_text(second)[0]
    assert system_text(second)[1] == "At most ten words."
    assert "Write at length." in system_text(third)[0]
    assert system_text(third)[1] == "At least ten words."
    assert again.execution_order == ["a"]
    assert "do something else" in third.body


def test_a_retry_executes_what_the_run_was_started_with(stack, project):
    stack.simulator.set_faults("400")
    client = stack.client(project.agent("writer", "Write briefly.").workflow("one", step("a")))
    run = client.start_workflow("one")
    run.result(timeout=60)

    project.agent("writer", "Write at length.")
    run.retry()

    assert run.result(timeout=60).success
    assert ["Write briefly." in system_text(call)[0] for call in stack.calls()] == [True, True]


def test_run_agent_follows_the_edits_of_the_workers_project(stack, house):
    program = 'from cf_workers.tasks import run_agent; run_agent.delay("writer", "Say hello").get(timeout=60)'

    assert stack.script(program).wait(timeout=60) == 0
    house.agent("writer", "Write in rhymes.")
    assert stack.script(program).wait(timeout=60) == 0

    before, after = stack.calls()
    assert "rhymes" not in system_text(before)[0]
    assert "Write in rhymes." in system_text(after)[0]


def test_a_worker_without_any_project_executes_runs_and_says_so_to_run_agent(own_stack, project):
    project.workflow("two", step("a"), step("b", "a", agent="reviewer"))
    own_stack.worker()  # its working directory and its home hold no project
    client = own_stack.client(project)

    assert client.start_workflow("two").result(timeout=60).success
    assert client.submit("tester", "Say hello").result(timeout=60).output
    program = own_stack.script(
        'from cf_workers.tasks import run_agent; run_agent.delay("writer", "Say hello").get(timeout=60)'
    )
    assert program.wait(timeout=60) == 1
    assert "ConfigError" in program.output()
    assert "no project found" in program.output()
    assert len(own_stack.calls()) == 3
