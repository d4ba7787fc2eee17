"""A plan has everything decided that a project leaves open, and what cannot work is refused before."""

import json
import logging

import pytest

from cf_workers.agents.definition import AgentDefinition
from cf_workers.agents.models import DEFAULT_MODEL
from cf_workers.errors import ConfigError, ProjectError, TaskTooLongError, UnknownAgentError
from cf_workers.planning import (
    ExecutionOptions,
    WorkflowOptions,
    plan_execution,
    plan_workflow,
)
from cf_workers.settings import load_settings
from cf_workers.workflows.spec import StepSpec, WorkflowSpec
from tests.support.projects import make_project

RETIRED = "claude-3-opus-20240229"


def workflow(*steps, **rest):
    return WorkflowSpec("review", tuple(steps), **rest)


# one execution


def test_an_agent_without_settings_gets_the_defaults(tmp_path, settings):
    planned = plan_execution("a", make_project(tmp_path, "a"), settings)

    (step,) = planned.plan.steps
    assert (planned.plan.workflow, step.id, step.agent, step.lane) == ("a", "a", "a", "interactive")
    assert (step.model, step.max_tokens, step.timeout_seconds) == (DEFAULT_MODEL, 4096, 120.0)
    assert (step.max_retries, step.cacheable, step.dependencies) == (None, None, ())


@pytest.mark.parametrize(
    ("name", "of_agent", "of_caller"),
    [
        ("model", "claude-opus-5", "claude-haiku-4-5"),
        ("max_tokens", 111, 222),
        ("timeout_seconds", 11.0, 22.0),
        ("max_retries", 1, 0),
        ("cacheable", True, False),
    ],
)
def test_the_caller_beats_the_agent_and_the_agent_the_defaults(tmp_path, settings, name, of_agent, of_caller):
    definition = make_project(tmp_path, "a").agent("a").model_copy(update={name: of_agent})
    project = make_project(tmp_path, "a")
    project.agent = lambda _: definition

    own = plan_execution("a", project, settings).plan.steps[0]
    asked = plan_execution("a", project, settings, ExecutionOptions(**{name: of_caller})).plan.steps[0]

    assert (getattr(own, name), getattr(asked, name)) == (of_agent, of_caller)


def test_the_projects_number_of_retries_is_pinned_and_the_workers_is_not(tmp_path):
    silent = make_project(tmp_path / "silent", "a")
    says_one = make_project(tmp_path / "says", "a", performance={"max_retries": 1})

    for project, pinned in ((silent, None), (says_one, 1)):
        planned = plan_execution("a", project, load_settings(project, environ={}))
        assert planned.plan.steps[0].max_retries == pinned


def test_a_plan_is_pinned_to_the_agents_definition(tmp_path, settings):
    project = make_project(tmp_path, "a")

    planned = plan_execution("a", project, settings)

    ((digest, text),) = planned.definitions.items()
    assert planned.plan.steps[0].definition == digest == project.agent("a").digest
    assert AgentDefinition.model_validate_json(text) == project.agent("a")


def test_an_unknown_agent_is_refused(tmp_path, settings):
    with pytest.raises(UnknownAgentError, match="'nobody'"):
        plan_execution("nobody", make_project(tmp_path, "a"), settings)


def test_a_retired_model_is_refused_with_current_ones(tmp_path, settings):
    with pytest.raises(ConfigError, match="was retired on 2026-01-05") as caught:
        plan_execution("a", make_project(tmp_path, "a"), settings, ExecutionOptions(model=RETIRED))

    assert "claude-opus-5-5" in caught.value.hint


def test_a_misspelt_model_is_warned_about(tmp_path, settings, caplog):
    options = ExecutionOptions(model="claude-sonet-5-5")

    with caplog.at_level(logging.WARNING):
        plan_execution("a", make_project(tmp_path, "a"), settings, options)

    assert "did you mean 'claude-sonnet-5-5'?" in caplog.text


# workflows


def test_a_step_beats_its_agent(tmp_path, settings):
    project = make_project(tmp_path, "a")
    spec = workflow(
        StepSpec("one", "a", model="claude-opus-5", max_tokens=7, timeout_seconds=3, max_retries=0),
        StepSpec("two", "a", cacheable=False, rule="all_done", allow_failure=True, dependencies=("one",)),
    )

    one, two = plan_workflow(spec, project, settings).plan.steps

    assert (one.model, one.max_tokens, one.timeout_seconds, one.max_retries) == ("claude-opus-5", 7, 3.0, 0)
    assert (two.model, two.cacheable, two.rule, two.allow_failure) == (
        DEFAULT_MODEL,
        False,
        "all_done",
        True,
    )
    assert two.dependencies == ("one",)


def test_agents_that_cannot_be_used_are_all_named(tmp_path, settings):
    project = make_project(tmp_path, "a")
    spec = workflow(StepSpec("1", "a"), StepSpec("2", "nobody"), StepSpec("3", "noone"))

    with pytest.raises(ProjectError, match="2 of its agents cannot be used") as caught:
        plan_workflow(spec, project, settings)

    text = json.dumps(caught.value.problems)
    assert "nobody" in text
    assert "noone" in text


def test_a_step_with_a_retired_model_is_refused(tmp_path, settings):
    with pytest.raises(ConfigError, match="retired"):
        plan_workflow(workflow(StepSpec("1", "a", model=RETIRED)), make_project(tmp_path, "a"), settings)


def test_a_step_whose_task_is_too_long_is_refused(tmp_path, settings):
    with pytest.raises(TaskTooLongError):
        plan_workflow(workflow(StepSpec("1", "a", task="x" * 100_001)), make_project(tmp_path, "a"), settings)


def test_the_lane_of_a_run_is_for_steps_that_name_none(tmp_path, settings):
    spec = workflow(StepSpec("1", "a"), StepSpec("2", "a", lane="interactive"))

    planned = plan_workflow(spec, make_project(tmp_path, "a"), settings, WorkflowOptions(lane="batch"))

    assert [step.lane for step in planned.plan.steps] == ["batch", "interactive"]


def test_outputs_are_passed_unless_somebody_asks_not_to(tmp_path, settings):
    spec, project = workflow(StepSpec("1", "a")), make_project(tmp_path, "a")

    assert plan_workflow(spec, project, settings).plan.steps[0].passes
    assert not plan_workflow(spec, project, settings, WorkflowOptions(pass_output=False)).plan.steps[0].passes


def test_a_sequential_run_puts_one_step_after_the_other_in_the_order_of_the_graph(tmp_path, settings):
    spec = workflow(StepSpec("last", "a", dependencies=("x", "y")), StepSpec("y", "a"), StepSpec("x", "a"))

    planned = plan_workflow(spec, make_project(tmp_path, "a"), settings, WorkflowOptions(sequential=True))

    assert {step.id: step.after for step in planned.plan.steps} == {"y": (), "x": ("y",), "last": ("x",)}
    assert planned.plan.by_id["last"].dependencies == ("x", "y")
    assert planned.plan.graph.order == ("y", "x", "last")
    assert len(planned.plan.graph.roots) == 1


def test_equal_workflows_have_equal_plans(tmp_path, settings):
    spec, project = workflow(StepSpec("1", "a")), make_project(tmp_path, "a")

    assert plan_workflow(spec, project, settings) == plan_workflow(spec, project, settings)


def test_an_agent_of_many_steps_is_pinned_once(tmp_path, settings):
    planned = plan_workflow(
        workflow(*(StepSpec(str(n), "a") for n in range(5))), make_project(tmp_path, "a"), settings
    )

    assert len(planned.definitions) == 1
    assert set(planned.definitions) == planned.plan.definitions


# models that are chosen


def test_auto_is_decided_when_planning_and_pinned_with_its_reason(tmp_path, settings):
    project = make_project(tmp_path, "a")

    planned = plan_execution("a", project, settings, ExecutionOptions(model="auto"), task="Rename it")

    (step,) = planned.plan.steps
    assert (step.model, step.chosen) == (
        "claude-haiku-5-5",
        "simple: the word 'rename' and only 9 characters",
    )


def test_without_auto_nothing_is_chosen_and_the_plan_is_as_it_was(tmp_path, settings):
    project = make_project(tmp_path, "a")

    plan = plan_execution("a", project, settings, task="Rename it").plan

    assert plan.steps[0].model == DEFAULT_MODEL
    assert "chosen" not in plan.text


def test_an_explicit_model_wins_over_rules_and_complexity(tmp_path, settings):
    project = make_project(tmp_path, "a", entries={"a": {"model": "auto"}})
    options = ExecutionOptions(model="claude-opus-5", complexity="simple")

    assert (
        plan_execution("a", project, settings, options, task="Rename it").plan.steps[0].model
        == "claude-opus-5"
    )


@pytest.mark.parametrize("level", ["caller", "agent", "environment"])
def test_auto_may_be_said_wherever_a_model_may(tmp_path, level):
    entries = {"a": {"model": "auto"}} if level == "agent" else {}
    settings = load_settings(environ={}, agents={"model": "auto"} if level == "environment" else None)
    options = ExecutionOptions(model="auto" if level == "caller" else None)

    planned = plan_execution(
        "a", make_project(tmp_path, "a", entries=entries), settings, options, task="typo"
    )

    assert planned.plan.steps[0].model == "claude-haiku-5-5"


def test_complexity_alone_chooses_its_tier_over_the_agents_own_model(tmp_path, settings):
    project = make_project(tmp_path, "a", entries={"a": {"model": "claude-haiku-4-5"}})
    spec = workflow(StepSpec("x", "a", task="Rename it", complexity="complex"), StepSpec("y", "a"))

    steps = plan_workflow(spec, project, settings).plan.steps

    assert [step.model for step in steps] == ["claude-opus-5-5", "claude-haiku-4-5"]
    assert steps[0].chosen == "complex: asked for"


def test_a_complexity_that_is_no_tier_is_refused_with_the_nearest(tmp_path, settings):
    options = ExecutionOptions(complexity="simpel")

    with pytest.raises(ConfigError, match="'simpel'") as caught:
        plan_execution("a", make_project(tmp_path, "a"), settings, options)

    assert caught.value.hint == "did you mean 'simple'?"


def test_a_steps_model_is_chosen_by_its_own_task_its_inputs_and_the_runs_task(tmp_path, settings):
    project = make_project(tmp_path, "a")
    own = workflow(StepSpec("x", "a", task="{{ inputs.what }} it", model="auto"))
    of_run = workflow(StepSpec("x", "a", model="auto"))

    def model(spec, **rest):
        return plan_workflow(spec, project, settings, **rest).plan.steps[0].model

    assert model(own, inputs={"what": "Rename"}) == model(of_run, task="Rename it") == "claude-haiku-5-5"
    assert model(own) == model(of_run) == DEFAULT_MODEL


def test_a_chosen_model_that_may_cost_more_than_the_threshold_is_refused(tmp_path, settings):
    project = make_project(tmp_path, "a", models={"max_cost_usd": 0.05})
    dear = ExecutionOptions(complexity="complex")

    with pytest.raises(
        ConfigError, match=r"claude-opus-5-5 \(complex: asked for\), has up to \$0.0\d+ a call"
    ):
        plan_execution("a", project, settings, dear)

    cheap = plan_execution("a", project, settings, ExecutionOptions(complexity="simple"))
    assert cheap.plan.steps[0].most_nanos == 50_000_000
    named = ExecutionOptions(model="claude-opus-5-5")
    assert plan_execution("a", project, settings, named).plan.steps[0].most_nanos is None
