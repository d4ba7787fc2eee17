"""How a project chooses models where nobody names one."""

import pytest

from cf_workers.agents.choice import DEFAULT_RULES, DEFAULT_TIERS, ChoicePolicy, Rule
from cf_workers.errors import ProjectError


def test_no_section_means_the_usual_rules(folder):
    assert folder.with_agents("a").models == ChoicePolicy()


def test_tiers_rules_default_and_threshold_are_the_projects(folder):
    models = folder.with_agents(
        "a",
        models={
            "tiers": {"complex": "claude-fable-5-2", "tiny": "claude-haiku-5-5"},
            "rules": [
                {"words": ["rename"], "tier": "tiny"},
                {"agents": ["a"], "min_chars": 5, "tier": "complex"},
            ],
            "default": "tiny",
            "max_cost_usd": 0.5,
        },
    ).models

    assert models.tiers == {**DEFAULT_TIERS, "complex": "claude-fable-5-2", "tiny": "claude-haiku-5-5"}
    assert models.rules == (Rule("tiny", ("rename",)), Rule("complex", agents=("a",), min_chars=5))
    assert (models.default, models.max_nanos) == ("tiny", 500_000_000)


def test_tiers_alone_keep_the_usual_rules(folder):
    assert folder.with_agents("a", models={"tiers": {"simple": "m"}}).models.rules == DEFAULT_RULES


@pytest.mark.parametrize(
    ("section", "place", "message", "hint"),
    [
        ({"teirs": {}}, "models.teirs", "not a key", "did you mean 'tiers'?"),
        ({"default": "smple"}, "models.default", "must be", "did you mean 'simple'?"),
        ({"tiers": {"simple": ""}}, "models.tiers.simple", "is empty", ""),
        ({"rules": {}}, "models.rules", "must be a list", ""),
        ({"rules": ["rename"]}, "models.rules[0]", "must be an object", "tier"),
        ({"rules": [{"words": ["x"]}]}, "models.rules[0]", "says no tier", "simple"),
        ({"rules": [{"word": ["x"], "tier": "simple"}]}, "models.rules[0].word", "not a key", "'words'"),
        ({"rules": [{"words": "x", "tier": "simple"}]}, "models.rules[0].words", "must be a list", ""),
        ({"rules": [{"agents": ["b"], "tier": "simple"}]}, "models.rules[0].agents[0]", "no agent 'b'", ""),
        ({"max_cost_usd": -1}, "models.max_cost_usd", "not an amount", "2.50"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place_and_what_to_do(folder, section, place, message, hint):
    with pytest.raises(ProjectError) as caught:
        _ = folder.with_agents("a", models=section).models

    (found,) = caught.value.problems
    assert found["place"] == place
    assert message in found["message"]
    assert hint in (found["hint"] or "")
