"""A model is chosen by rules that look for whole words, and by nothing that only looks like one."""

import pytest

from cf_workers.agents.choice import ChoicePolicy, Rule, choose

POLICY = ChoicePolicy(
    tiers={"simple": "claude-haiku-5-5", "standard": "claude-sonnet-5-5", "complex": "claude-opus-5-5"},
    rules=(
        Rule("complex", words=("threat model",)),
        Rule("complex", agents=("architect",)),
        Rule("complex", min_chars=1000),
        Rule("simple", words=("format", "rename"), max_chars=100),
    ),
)


@pytest.mark.parametrize(
    ("task", "tier"),
    [
        ("Format this file", "simple"),
        ("please RENAME it.", "simple"),
        ("(format)", "simple"),
        ("re-format", "simple"),
        ("Summarise the information", "standard"),
        ("reformatting", "standard"),
        ("format_all", "standard"),
        ("renamed", "standard"),
        ("Draw up a threat model", "complex"),
        ("Draw up a Threat\n  Model", "complex"),
        ("a threat to the model", "standard"),
        ("format " + "x" * 100, "standard"),
        ("x" * 1000, "complex"),
        ("", "standard"),
        ("Größe format größer", "simple"),
        ("überformat", "standard"),
    ],
)
def test_the_first_rule_that_fits_says_which_tier(task, tier):
    assert choose(POLICY, "writer", task).tier == tier


def test_a_rule_may_be_for_agents():
    choice = choose(POLICY, "architect", "Format this file")

    assert (choice.model, str(choice)) == ("claude-opus-5-5", "complex: the agent 'architect'")


def test_a_choice_says_why():
    reasons = {task: str(choose(POLICY, "w", task)) for task in ("Rename it", "Other", "x" * 1000)}

    assert list(reasons.values()) == [
        "simple: the word 'rename' and only 9 characters",
        "standard: no rule fits",
        "complex: 1000 characters",
    ]


def test_what_was_asked_for_beats_the_rules():
    choice = choose(POLICY, "writer", "Draw up a threat model", "simple")

    assert (choice.model, choice.reason) == ("claude-haiku-5-5", "asked for")


def test_all_conditions_of_a_rule_must_be_met():
    policy = ChoicePolicy(rules=(Rule("complex", words=("audit",), agents=("a",)),))

    assert choose(policy, "a", "audit").tier == "complex"
    assert choose(policy, "b", "audit").tier == choose(policy, "a", "other").tier == "standard"


@pytest.mark.parametrize(
    ("task", "tier"),
    [
        ("Summarise the information in this report", "standard"),
        ("Remove unused imports", "simple"),
        ("Fix the typo in the title", "simple"),
        ("Design the architecture of a payment service", "complex"),
        ("Find the root cause of this crash", "complex"),
        ("Review this diff", "standard"),
    ],
)
def test_the_rules_that_hold_without_configuration_do_what_people_expect(task, tier):
    assert choose(ChoicePolicy(), "writer", task).tier == tier
