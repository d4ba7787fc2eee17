"""A plan knows its budgets, and none is planned that they cannot hold."""

import pytest

from cf_workers.errors import ConfigError, InputError
from cf_workers.planning import (
    ExecutionOptions,
    WorkflowOptions,
    plan_execution,
    plan_workflow,
    read_options,
    record_options,
)
from cf_workers.settings import load_settings
from cf_workers.workflows.spec import StepSpec, WorkflowSpec
from tests.support.projects import make_project


def workflow(*steps, **rest):
    return WorkflowSpec("review", tuple(steps), **rest)


def priced(tmp_path, budgets, *agents):
    return make_project(tmp_path, *(agents or ("a",)), budgets=budgets)


def test_a_plan_knows_the_budgets_that_apply_to_it(tmp_path, settings):
    project = priced(tmp_path, {"day": 5, "agents": {"a": 1}}, "a", "b")

    alone = plan_execution("b", project, settings)
    both = plan_workflow(workflow(StepSpec("x", "a"), StepSpec("y", "b")), project, settings)

    assert [limit.scope for limit in alone.limits] == ["day"]
    assert [limit.scope for limit in both.limits] == ["day", "agent:a"]


def test_a_record_keeps_budgets_and_the_runs_own_has_its_id(tmp_path, settings):
    options = ExecutionOptions(max_cost_usd=2.5, fail_fast=True)

    planned = plan_execution("a", priced(tmp_path, {}), settings, options)

    assert record_options("r1", planned, options) == {
        "fail_fast": True,
        "budgets": [
            {"scope": "run:r1", "nanos": 2_500_000_000, "per": "total", "on_exhausted": "park", "models": []}
        ],
    }


def test_the_caller_beats_the_environment_and_the_environment_the_project(tmp_path):
    project = priced(tmp_path, {"run": 1, "day": 1})
    settings = load_settings(
        environ={}, budgets={"run_usd": 2, "day_usd": 2, "namespace_usd": 2, "recheck_seconds": 7}
    )

    planned = plan_execution("a", project, settings, ExecutionOptions(max_cost_usd=3))

    amounts = {limit.scope: limit.nanos // 10**9 for limit in planned.limits}
    assert amounts == {"namespace": 2, "day": 2, "run": 3}
    assert settings.budget_policy.recheck_seconds == 7


def test_a_model_without_a_known_price_is_refused_where_a_budget_applies(tmp_path, settings):
    unknown = ExecutionOptions(model="my-own-model")
    free = make_project(tmp_path / "free", "a")
    assert plan_execution("a", free, settings, unknown).limits == ()

    with pytest.raises(ConfigError, match="no budget can hold for the model 'my-own-model'"):
        plan_execution("a", priced(tmp_path, {"day": 1}), settings, unknown)


def test_a_budget_of_one_agent_does_not_ask_for_the_price_of_anothers_model(tmp_path, settings):
    project = priced(tmp_path, {"agents": {"b": 1}}, "a", "b")
    steps = workflow(StepSpec("x", "a", model="my-own-model"), StepSpec("y", "b"))

    assert plan_workflow(steps, project, settings).limits[0].scope == "agent:b"


def test_a_budget_below_nothing_is_refused(tmp_path, settings):
    with pytest.raises(InputError, match="max_cost_usd"):
        read_options({"max_cost_usd": -1})
    with pytest.raises(InputError, match="not an amount"):
        plan_workflow(
            workflow(StepSpec("x", "a")), priced(tmp_path, {}), settings, WorkflowOptions(max_cost_usd=-1)
        )
