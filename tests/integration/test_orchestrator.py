"""A program written for the old orchestrators runs on workers when its import line is changed."""

import asyncio
import os
import subprocess
import sys

import pytest

from cf_workers import AgentOrchestrator, AsyncAgentOrchestrator
from cf_workers.errors import NoWorkerError, UnknownAgentError, UnknownWorkflowError
from tests.support.environ import ROOT
from tests.support.stack import step, user_text

pytestmark = pytest.mark.integration

OLD_PROGRAM = """
import asyncio
from claude_force import AgentOrchestrator
from claude_force.async_orchestrator import AsyncAgentOrchestrator

orchestrator = AgentOrchestrator(config_path=".claude/claude.json")
result = orchestrator.run_agent("writer", task="Say hello", model="claude-haiku-4-5", max_tokens=100)
assert result.success, result.errors
print(result.agent_name, result.metadata["tokens_used"] > 0)
for one in orchestrator.run_workflow("pair", task="Say hello"):
    print(one.agent_name, one.success, one.metadata["workflow_position"])

async def many():
    crew = AsyncAgentOrchestrator(max_concurrent=2, timeout_seconds=30, max_retries=3)
    results = await crew.execute_multiple([("writer", "one"), ("nobody", "two"), ("tester", "three")])
    print([(one.agent_name, one.success) for one in results])
    await crew.close()

asyncio.run(many())
"""


@pytest.fixture
def set_up(stack, project, monkeypatch):
    """This process as a program of the stack's user."""
    for name, value in stack.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CF_WORKERS_CONFIG", str(project.workflow("pair", "writer", "tester").file))
    return stack


@pytest.fixture
def orchestrator(set_up):
    with AgentOrchestrator() as made:
        yield made


def test_an_old_program_runs_when_its_import_line_is_changed(set_up, project):
    program = OLD_PROGRAM.replace("claude_force.async_orchestrator", "cf_workers")
    program = program.replace("claude_force", "cf_workers")

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "writer True",
        "writer True 1",
        "tester True 2",
        "[('writer', True), ('nobody', False), ('tester', True)]",
    ]


def test_a_workflow_gives_a_result_for_each_step_that_ran(orchestrator, project, set_up):
    project.workflow(
        "broken", step("a", task="fine"), step("b", "a", task="[[sim fail=400]]"), step("c", "b")
    )

    first, second = orchestrator.run_workflow("broken")

    assert (first.success, second.success) == (True, False)
    assert second.errors
    assert first.to_dict()["metadata"]["step"] == "a"


def test_without_passing_outputs_no_agent_sees_another_s(orchestrator, set_up):
    results = orchestrator.run_workflow("pair", "Say hello", pass_output_to_next=False)

    assert [one.success for one in results] == [True, True]
    assert results[0].output not in user_text(set_up.calls()[1])


def test_what_cannot_work_is_refused_as_the_value_it_is(orchestrator, set_up):
    with pytest.raises(UnknownAgentError) as caught:
        orchestrator.run_agent("wrtier", "Say hello")
    with pytest.raises(ValueError, match="pari"):
        orchestrator.run_workflow("pari", "Say hello")
    with pytest.raises(UnknownWorkflowError):
        asyncio.run(orchestrator.execute_workflow_async("nothing", "Say hello"))

    assert "'writer'" in caught.value.hint
    assert set_up.calls() == []


def test_what_has_a_new_home_is_said(set_up):
    with pytest.warns(UserWarning, match="ANTHROPIC_API_KEY of their environment"):
        AgentOrchestrator(api_key="sk-test")
    with pytest.warns(UserWarning, match="ANTHROPIC_API_KEY of their environment"):
        AgentOrchestrator(anthropic_api_key="sk-test")
    with pytest.warns(UserWarning, match=r"cache.ttl_hours in claude.json"):
        AgentOrchestrator(cache_ttl_hours=3)
    with AgentOrchestrator() as made, pytest.warns(UserWarning, match="not sent"):
        assert made.execute_agent("writer", "Say hello", temperature=0.2, use_memory=True).success


def test_options_of_old_are_accepted_for_a_workflow_and_misspelt_ones_are_not(orchestrator, set_up):
    with pytest.warns(UserWarning, match="name it in the agent or the step"):
        results = orchestrator.run_workflow(
            "pair", task="Say hello", model="claude-haiku-4-5", use_memory=True
        )
    with pytest.raises(TypeError, match="modle"):
        orchestrator.run_workflow("pair", task="Say hello", modle="claude-haiku-4-5")

    assert [one.success for one in results] == [True, True]
    assert len(set_up.calls()) == 2


def test_the_project_can_be_looked_at(orchestrator):
    assert {one["name"] for one in orchestrator.list_agents()} == {"writer", "reviewer", "tester"}
    assert orchestrator.list_workflows() == {"pair": ["writer", "tester"]}
    assert "# writer" in orchestrator.get_agent_info("writer")["description"]


def test_without_a_worker_on_a_configured_server_it_says_which_command_starts_one(
    own_stack, project, monkeypatch
):
    for name, value in {**own_stack.environ, "CF_WORKERS_CONFIG": str(project.file)}.items():
        monkeypatch.setenv(name, value)

    with AgentOrchestrator() as made, pytest.raises(NoWorkerError) as caught:
        made.execute_multiple([("writer", "Say hello")])

    assert "celery -A cf_workers worker" in caught.value.hint


def test_the_awaited_names_do_the_same(set_up):
    async def program():
        async with AsyncAgentOrchestrator(enable_cache=False) as made:
            one = await made.run_agent("writer", "Say hello")
            steps = await made.execute_workflow_async("pair", "Say hello")
            return one, steps

    one, steps = asyncio.run(program())

    assert one.success
    assert [step.agent_name for step in steps] == ["writer", "tester"]
