"""Which model does a task deserve, where nobody has named one? The first rule that fits says which tier.

A rule looks for whole words: "information" holds no "format". What it decides is pinned in the plan.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cf_workers.agents.models import DEFAULT_MODEL

AUTO = "auto"
"""Stands where a model's id would, and leaves the choice to the rules."""

SIMPLE, STANDARD, COMPLEX = "simple", "standard", "complex"

DEFAULT_TIERS = {SIMPLE: "claude-haiku-5-5", STANDARD: DEFAULT_MODEL, COMPLEX: "claude-opus-5-5"}


@dataclass(frozen=True)
class Rule:
    """Fits a task that meets all of its conditions; one that says nothing is met.

    Args:
        words: words or phrases, one of which occurs in the task, whole and in any case.
        agents: names of agents, one of which is asked.
        min_chars: the task is at least so long.
        max_chars: the task is at most so long.
    """

    tier: str
    words: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    min_chars: int | None = None
    max_chars: int | None = None

    def reason(self, agent: str, task: str) -> str | None:
        """Why it fits, for people; `None` if it does not."""
        found = _pattern(self.words).search(task) if self.words else None
        size = len(task)
        conditions = [
            (self.words, found, f"the word {_spelt(found)!r}"),
            (self.agents, agent in self.agents, f"the agent {agent!r}"),
            (self.min_chars is not None, size >= (self.min_chars or 0), f"{size} characters"),
            (self.max_chars is not None, size <= (self.max_chars or 0), f"only {size} characters"),
        ]
        asked = [(met, reason) for said, met, reason in conditions if said]
        return " and ".join(reason for _, reason in asked) if all(met for met, _ in asked) else None


DEFAULT_RULES = (
    Rule(COMPLEX, min_chars=20_000),
    Rule(
        COMPLEX,
        (
            "architecture",
            "architect",
            "security audit",
            "threat model",
            "vulnerability",
            "vulnerabilities",
            "race condition",
            "deadlock",
            "root cause",
            "concurrency",
            "migration plan",
            "trade-offs",
        ),
    ),
    Rule(
        SIMPLE,
        (
            "format",
            "reformat",
            "rename",
            "typo",
            "typos",
            "spelling",
            "lint",
            "docstring",
            "docstrings",
            "unused imports",
            "sort the imports",
            "changelog",
            "translate",
        ),
        max_chars=4_000,
    ),
)


@dataclass(frozen=True)
class ChoicePolicy:
    """How models are chosen.

    Args:
        tiers: the model of each.
        rules: the first that fits decides.
        default: the tier where none fits.
        max_nanos: no chosen call may cost more, in billionths of a dollar.
    """

    tiers: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_TIERS))
    rules: tuple[Rule, ...] = DEFAULT_RULES
    default: str = STANDARD
    max_nanos: int | None = None


@dataclass(frozen=True)
class Choice:
    """A model, and why it."""

    model: str
    tier: str
    reason: str

    def __str__(self) -> str:
        return f"{self.tier}: {self.reason}"


def choose(policy: ChoicePolicy, agent: str, task: str, complexity: str | None = None) -> Choice:
    """The model for a task.

    Args:
        complexity: the name of a tier that somebody has asked for, whatever the rules say.

    Raises:
        KeyError: there is no such tier.
    """
    if complexity is not None:
        return Choice(policy.tiers[complexity], complexity, "asked for")
    for rule in policy.rules:
        reason = rule.reason(agent, task)
        if reason is not None:
            return Choice(policy.tiers[rule.tier], rule.tier, reason or "a rule without conditions")
    return Choice(policy.tiers[policy.default], policy.default, "no rule fits")


def _spelt(found: re.Match[str] | None) -> str:
    return " ".join(found.group().lower().split()) if found else ""


@lru_cache(maxsize=256)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """Any of these, whole: with no letter, digit or underscore on either side."""
    each = (r"\s+".join(map(re.escape, word.split())) for word in words)
    return re.compile(rf"(?<!\w)(?:{'|'.join(each)})(?!\w)", re.IGNORECASE)
