import json

from cf_workers.cli.demo import WORKFLOW, estimate, subject_task
from cf_workers.cli.stage import PROJECT
from cf_workers.client import Client, compiled_document
from cf_workers.planning import check_project


def test_the_demo_project_is_sound_and_its_check_is_one_chord():
    client = Client(PROJECT)

    check_project(client.project, client.settings)
    plan = compiled_document(client.check_workflow(WORKFLOW, "x").plan)

    assert "chord([linter, type-checker, security-scan], final-review)" in plan["canvas"]


def test_the_agents_of_the_demo_say_what_to_answer_and_how():
    project = Client(PROJECT).project

    for name in project.agent_names:
        text = project.agent(name).text
        assert "Answer in Markdown" in text
        assert len(text) > 500


def test_an_estimate_bounds_tokens_and_cost():
    planned = Client(PROJECT).check_workflow(WORKFLOW, subject_task())

    prompts, answers, cost = estimate(planned, subject_task())

    # four prompts hold the file each, and the last one the longest answers of the others
    assert prompts > 4 * len(subject_task()) // 4 + 3 * 1500
    assert answers == 3 * 1500 + 2000
    assert cost is not None
    assert 0.01 < cost < 1.0


def test_an_estimate_without_a_price_has_no_cost():
    planned = Client(PROJECT).check_workflow(WORKFLOW, "x")
    steps = tuple(step.model_copy(update={"model": "claude-unheard-of"}) for step in planned.plan.steps)
    unpriced = type(planned)(planned.plan.model_copy(update={"steps": steps}), planned.definitions)

    assert estimate(unpriced, "x")[2] is None


def test_the_real_demo_without_a_key_is_refused(cf):
    result = cf("demo", "--real", "--yes", "--json")

    assert result.exit_code == 2
    assert "ANTHROPIC_API_KEY" in json.loads(result.stdout)["error"]["hint"]


def test_the_real_demo_says_what_it_costs_and_spends_nothing_unasked(cf, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-secret")

    result = cf("demo", "--real", stdin="")

    assert result.exit_code == 2
    assert "at most about $" in result.stderr
    assert "--yes" in result.stderr
    assert "sk-ant-secret" not in result.stderr
