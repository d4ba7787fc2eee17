"""What a project says may be spent."""

import pytest

from cf_workers.budgets import Limit
from cf_workers.errors import ProjectError
from cf_workers.project import BudgetsSection

CENT = 10_000_000


def budgets(folder, section, *agents, **rest):
    return folder.with_agents(*agents, budgets=section, **rest).budgets


def problems(folder, section, *agents, **rest):
    with pytest.raises(ProjectError) as caught:
        budgets(folder, section, *agents, **rest)
    return [(one["place"], one["message"], one["hint"]) for one in caught.value.problems]


def test_no_section_means_no_budget(folder):
    assert folder.with_agents("a").budgets == BudgetsSection()
    assert folder.with_agents("a").budgets.applying(["a"], "w", {}) == ()


def test_an_amount_alone_is_enough(folder):
    found = budgets(
        folder,
        {"namespace": 500, "day": 50, "run": 2.5, "agents": {"a": 20}, "workflows": {"w": 0.01}},
        "a",
        "b",
        workflows={"w": ["a"]},
    )

    assert found.applying(["a", "b"], "w", {}) == (
        Limit("namespace", 50_000 * CENT),
        Limit("day", 5_000 * CENT, "day"),
        Limit("run", 250 * CENT),
        Limit("workflow:w", CENT),
        Limit("agent:a", 2_000 * CENT),
    )


def test_a_budget_says_for_which_time_it_is_and_what_becomes_of_calls_beyond_it(folder):
    found = budgets(
        folder,
        {
            "on_exhausted": "fail",
            "cheaper_models": ["claude-haiku-5-5"],
            "agents": {"a": {"usd": 1, "per": "day"}, "b": {"usd": 1, "on_exhausted": "park"}},
            "namespace": {
                "usd": 1,
                "per": "month",
                "on_exhausted": "cheaper_model",
                "cheaper_models": ["claude-haiku-4-5"],
            },
        },
        "a",
        "b",
    )

    usd, ladder = 100 * CENT, ("claude-haiku-5-5",)
    assert found.agents["a"] == Limit("agent:a", usd, "day", "fail", ladder)
    assert found.agents["b"] == Limit("agent:b", usd, "total", "park", ladder)
    assert found.namespace == Limit("namespace", usd, "month", "cheaper_model", ("claude-haiku-4-5",))


def test_a_given_amount_wins_over_the_declared_one_under_its_rules(folder):
    found = budgets(folder, {"run": {"usd": 1, "on_exhausted": "fail"}, "on_exhausted": "park"}, "a")

    assert found.applying([], None, {"run": 2}) == (Limit("run", 200 * CENT, "total", "fail"),)
    assert found.applying([], None, {"run": 1, "day": 3})[0] == Limit("day", 300 * CENT, "day", "park")


def test_other_agents_and_workflows_have_other_budgets(folder):
    found = budgets(folder, {"agents": {"a": 1}, "workflows": {"w": 1}}, "a", "b", workflows={"w": ["a"]})

    assert found.applying(["b"], "other", {}) == ()
    assert found.applying(["b"], None, {}) == ()


@pytest.mark.parametrize(
    ("section", "place", "message", "hint"),
    [
        ({"dayly": 1}, "budgets.dayly", "'dayly' is not a key of a budget", "did you mean 'day'?"),
        ({"day": {"usd": 1, "pre": "day"}}, "budgets.day.pre", "is not a key", "did you mean 'per'?"),
        ({"agents": {"writr": 1}}, "budgets.agents.writr", "there is no agent 'writr'", "'writer'"),
        ({"workflows": {"x": 1}}, "budgets.workflows.x", "there is no workflow 'x'", ""),
        ({"day": -1}, "budgets.day.usd", "-1 is not an amount of dollars", "2.50"),
        ({"day": "50"}, "budgets.day", "must be dollars or an object, not a string", "usd"),
        ({"day": {}}, "budgets.day.usd", "not an amount", ""),
        ({"day": {"usd": True}}, "budgets.day.usd", "not an amount", ""),
        ({"day": {"usd": 1, "per": "month"}}, "budgets.day.per", "means nothing", "remove it"),
        ({"agents": {"writer": {"usd": 1, "per": "weak"}}}, "budgets.agents.writer.per", "must be", ""),
        ({"on_exhausted": "die"}, "budgets.on_exhausted", "must be 'park' or", ""),
        ({"on_exhausted": "cheaper_model"}, "budgets.on_exhausted", "no models to choose", "cheaper_models"),
        ({"agents": []}, "budgets.agents", "must be an object", ""),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place_and_what_to_do(folder, section, place, message, hint):
    (found,) = problems(folder, section, "writer")

    assert found[0] == place
    assert message in found[1]
    assert hint in (found[2] or "")


def test_problems_of_budgets_are_problems_of_the_project(folder):
    project = folder.with_agents("a", budgets={"dya": 1})

    assert [problem.place for problem in project.problems] == ["budgets.dya"]
