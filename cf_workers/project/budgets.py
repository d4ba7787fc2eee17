"""Which budgets does a project declare?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from cf_workers.budgets import LARGEST_USD, PERIODS, REACTIONS, Limit, OnExhausted, Period, nanos_of
from cf_workers.errors import InputError
from cf_workers.project.fields import Fields, is_number, kind
from cf_workers.project.keys import Key, choice, mapping, strings
from cf_workers.project.problems import Report, at

RUN = "run"
"""The scope of a run's own budget, as long as the run has no id."""

_SINGLE = ("namespace", "day", RUN)
_DOLLARS = {"type": "number", "minimum": 0, "maximum": LARGEST_USD}
_AMOUNT = {"anyOf": [_DOLLARS, {"$ref": "#/definitions/budget"}]}
_RULES: tuple[Key, ...] = (
    choice("on_exhausted", "What becomes of calls for which no money is left.", REACTIONS),
    strings("cheaper_models", "What 'cheaper_model' tries, in this order."),
)
BUDGET_TABLE: tuple[Key, ...] = (
    Key("usd", "The amount, in dollars.", _DOLLARS, lambda keys: keys.raw("usd")),
    choice("per", "How long it lasts.", PERIODS),
    *_RULES,
)
BUDGETS_TABLE: tuple[Key, ...] = (
    Key("namespace", "For everything.", _AMOUNT, lambda keys: keys.raw("namespace")),
    Key("day", "For everything, each day.", _AMOUNT, lambda keys: keys.raw("day")),
    Key(RUN, "For each run that is given none of its own.", _AMOUNT, lambda keys: keys.raw(RUN)),
    mapping("agents", "For agents, by name.", {"additionalProperties": _AMOUNT}),
    mapping("workflows", "For workflows, by name.", {"additionalProperties": _AMOUNT}),
    *_RULES,
)
_KEYS = tuple(key.name for key in BUDGETS_TABLE)
_BUDGET_KEYS = tuple(key.name for key in BUDGET_TABLE)


@dataclass(frozen=True, slots=True)
class BudgetsSection:
    """What may be spent.

    Args:
        run: for each run that is given none of its own.
        agents: by name.
        workflows: by name.
        on_exhausted: what becomes of calls for which no money is left, where a budget does not say.
        cheaper_models: what `cheaper_model` tries, in this order.
    """

    namespace: Limit | None = None
    day: Limit | None = None
    run: Limit | None = None
    agents: Mapping[str, Limit] = field(default_factory=dict)
    workflows: Mapping[str, Limit] = field(default_factory=dict)
    on_exhausted: OnExhausted = "park"
    cheaper_models: tuple[str, ...] = ()

    def applying(
        self, agents: Sequence[str], workflow: str | None, amounts: Mapping[str, float | None]
    ) -> tuple[Limit, ...]:
        """The budgets that apply to a run; that of the run itself has the scope `run`.

        Args:
            workflow: `None` for an execution of one agent.
            amounts: dollars for `namespace`, `day` and `run` that win over those declared here.
        """
        single = {"namespace": self.namespace, "day": self.day, RUN: self.run}
        found = [self._with_amount(scope, limit, amounts.get(scope)) for scope, limit in single.items()]
        found += [self.workflows.get(workflow) if workflow is not None else None]
        found += [self.agents.get(agent) for agent in agents]
        return tuple(limit for limit in found if limit is not None)

    def _with_amount(self, scope: str, limit: Limit | None, usd: float | None) -> Limit | None:
        if usd is None:
            return limit
        per: Period = "day" if scope == "day" else "total"
        base = limit or Limit(scope, 0, per, self.on_exhausted, self.cheaper_models)
        return replace(base, nanos=nanos_of(usd))


def read_budgets(
    raw: Mapping[str, Any], agents: Sequence[str], workflows: Sequence[str], report: Report
) -> BudgetsSection:
    """Read the section; agents and workflows that it names must exist."""
    section = Fields(raw, "", report).object("budgets") or {}
    keys = Fields(section, "budgets", report)
    _refuse_unknown(section, "budgets", _KEYS, report)
    reaction, models = _rules(keys, report, "park", ())
    reader = _Reader(report, reaction, models)
    single = {name: reader.budget(name, section[name], keys.place(name)) for name in _SINGLE if name in keys}
    return BudgetsSection(
        single.get("namespace"),
        single.get("day"),
        single.get(RUN),
        reader.named("agents", keys, agents),
        reader.named("workflows", keys, workflows),
        on_exhausted=reaction,
        cheaper_models=models,
    )


@dataclass(frozen=True)
class _Reader:
    report: Report
    reaction: OnExhausted
    models: tuple[str, ...]

    def named(self, name: str, keys: Fields, known: Sequence[str]) -> dict[str, Limit]:
        """The budgets of agents, or of workflows."""
        found: dict[str, Limit] = {}
        for owner, raw in (keys.object(name) or {}).items():
            place = at(keys.place(name), owner)
            if owner not in known:
                what = f"there is no {name[:-1]} {owner!r} in the project"
                self.report.add_unknown(place, what, owner, known)
            elif (limit := self.budget(f"{name[:-1]}:{owner}", raw, place)) is not None:
                found[owner] = limit
        return found

    def budget(self, scope: str, raw: object, place: str) -> Limit | None:
        """One budget: an amount, or an object that says more."""
        raw = {"usd": raw} if is_number(raw) else raw
        if not isinstance(raw, Mapping):
            self.report.add(place, f"must be dollars or an object, not {kind(raw)}", 'write {"usd": 2.50}')
            return None
        _refuse_unknown(raw, place, _BUDGET_KEYS, self.report)
        keys = Fields(raw, place, self.report)
        reaction, models = _rules(keys, self.report, self.reaction, self.models)
        nanos = self._amount(raw, keys)
        return None if nanos is None else Limit(scope, nanos, self._period(scope, keys), reaction, models)

    def _amount(self, raw: Mapping[str, Any], keys: Fields) -> int | None:
        usd = raw.get("usd")
        try:
            return nanos_of(usd if is_number(usd) else kind(usd))
        except InputError as error:
            self.report.add(keys.place("usd"), error.message, error.hint)
            return None

    def _period(self, scope: str, keys: Fields) -> Period:
        per = cast("Period | None", keys.choice("per", PERIODS))
        if per is not None and scope in ("day", RUN):
            self.report.add(keys.place("per"), f"means nothing for the budget {scope!r}", "remove it")
        return "day" if scope == "day" else (per or "total")


def _rules(
    keys: Fields, report: Report, reaction: OnExhausted, models: tuple[str, ...]
) -> tuple[OnExhausted, tuple[str, ...]]:
    """What is done when a budget is exhausted: as said here, else as said further out."""
    said = cast("OnExhausted | None", keys.choice("on_exhausted", REACTIONS)) or reaction
    ladder = tuple(name for _, name in keys.strings("cheaper_models")) or models
    if said == "cheaper_model" and not ladder:
        message = "has no models to choose from"
        report.add(keys.place("on_exhausted"), message, 'add "cheaper_models": ["claude-haiku-5-5"]')
    return said, ladder


def _refuse_unknown(raw: Mapping[str, Any], place: str, known: Sequence[str], report: Report) -> None:
    """Where money is concerned, a key that is not understood is not passed over."""
    for key in raw:
        if key not in known:
            report.add_unknown(at(place, key), f"{key!r} is not a key of a budget", key, known)
