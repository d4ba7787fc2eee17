"""How does a project choose models where nobody names one?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cf_workers.agents.choice import DEFAULT_RULES, DEFAULT_TIERS, STANDARD, ChoicePolicy, Rule
from cf_workers.budgets import nanos_of
from cf_workers.errors import InputError
from cf_workers.project.fields import Fields, is_number, kind
from cf_workers.project.keys import NOT_BLANK, Key, properties, strings, whole
from cf_workers.project.problems import Report, at

_CONDITIONS: tuple[Key, ...] = (
    strings("words", "Words or phrases, one of which occurs in the task, whole."),
    strings("agents", "Agents, one of which is asked."),
    whole("min_chars", "The task is at least so long.", 0),
    whole("max_chars", "The task is at most so long.", 0),
)
_KEYS = ("tiers", "rules", "default", "max_cost_usd")
_RULE_KEYS = ("tier", "words", "agents", "min_chars", "max_chars")


def models_schema() -> dict[str, Any]:
    """JSON Schema of the section; which tiers there are is left to the loader."""
    rule = {
        "type": "object",
        "required": ["tier"],
        "properties": {"tier": {"type": "string", "pattern": NOT_BLANK}, **properties(_CONDITIONS)},
        "additionalProperties": False,
    }
    model = {"type": ["string", "null"], "pattern": NOT_BLANK}
    return {
        "additionalProperties": False,
        "properties": {
            "tiers": {
                "description": "The model of each tier; simple, standard and complex are always there.",
                "type": ["object", "null"],
                "additionalProperties": model,
            },
            "rules": {
                "description": "The first whose conditions are all met says the tier.",
                "type": ["array", "null"],
                "items": rule,
            },
            "default": {"description": "The tier where no rule fits.", "type": ["string", "null"]},
            "max_cost_usd": {
                "description": "No call of a chosen model may cost more, in US dollars.",
                "type": ["number", "null"],
                "minimum": 0,
                "maximum": 1_000_000,
            },
        },
    }


def read_models(raw: Mapping[str, Any], agents: Sequence[str], report: Report) -> ChoicePolicy:
    """Read the section `models`; tiers that it names anew stand beside the usual ones."""
    section = Fields(raw, "", report).object("models") or {}
    keys = Fields(section, "models", report)
    _refuse_unknown(section, "models", _KEYS, report)
    named = Fields(keys.object("tiers") or {}, keys.place("tiers"), report)
    told = {tier: named.name(tier) for tier in keys.object("tiers") or {}}
    tiers = {**DEFAULT_TIERS, **{tier: model for tier, model in told.items() if model is not None}}
    reader = _Rules(report, tuple(tiers), agents)
    default = keys.choice("default", tuple(tiers)) or STANDARD
    return ChoicePolicy(tiers, reader.rules(section, keys), default, _threshold(section, keys, report))


@dataclass(frozen=True)
class _Rules:
    report: Report
    tiers: tuple[str, ...]
    agents: Sequence[str]

    def rules(self, section: Mapping[str, Any], keys: Fields) -> tuple[Rule, ...]:
        """The project's own rules, instead of the usual ones."""
        raw = section.get("rules")
        if raw is None:
            return DEFAULT_RULES
        if not isinstance(raw, list):
            self.report.add(keys.place("rules"), f"must be a list of rules, not {kind(raw)}")
            return DEFAULT_RULES
        read = [self._rule(one, at(keys.place("rules"), index)) for index, one in enumerate(raw)]
        return tuple(rule for rule in read if rule is not None)

    def _rule(self, raw: object, place: str) -> Rule | None:
        if not isinstance(raw, Mapping):
            hint = 'write {"words": ["rename"], "tier": "simple"}'
            self.report.add(place, f"must be an object, not {kind(raw)}", hint)
            return None
        _refuse_unknown(raw, place, _RULE_KEYS, self.report)
        keys = Fields(raw, place, self.report)
        if "tier" not in keys:
            self.report.add(place, "says no tier", f'add "tier": one of {", ".join(self.tiers)}')
        tier = keys.choice("tier", self.tiers)
        words = tuple(word for _, word in keys.strings("words"))
        named = keys.strings("agents")
        for where, agent in named:
            if agent not in self.agents:
                what = f"there is no agent {agent!r} in the project"
                self.report.add_unknown(where, what, agent, self.agents)
        least, most = keys.whole("min_chars", 0), keys.whole("max_chars", 0)
        return None if tier is None else Rule(tier, words, tuple(name for _, name in named), least, most)


def _threshold(section: Mapping[str, Any], keys: Fields, report: Report) -> int | None:
    usd = section.get("max_cost_usd")
    if usd is None:
        return None
    try:
        return nanos_of(usd if is_number(usd) else kind(usd))
    except InputError as error:
        report.add(keys.place("max_cost_usd"), error.message, error.hint)
        return None


def _refuse_unknown(raw: Mapping[str, Any], place: str, known: Sequence[str], report: Report) -> None:
    for key in raw:
        if key not in known:
            report.add_unknown(at(place, key), f"{key!r} is not a key here", key, known)
