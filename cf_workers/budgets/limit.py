"""Of what is there how much, and what if it is used up?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

from cf_workers.errors import InputError
from cf_workers.money import NANOS, usd

Period = Literal["total", "day", "month"]
OnExhausted = Literal["park", "cheaper_model", "batch", "fail"]
PERIODS: tuple[str, ...] = get_args(Period)
REACTIONS: tuple[str, ...] = get_args(OnExhausted)

NAMESPACE, DAY = "namespace", "day"
_NAMED = ("agent", "workflow", "run")
LARGEST_USD = 1_000_000
"""Lua counts in doubles, which hold whole billionths of a dollar up to nine millions."""

_PATTERNS = {"total": "total", "day": "%Y-%m-%d", "month": "%Y-%m"}
_KEEP_SECONDS = {"total": 400 * 86_400, "day": 40 * 86_400, "month": 400 * 86_400}


@dataclass(frozen=True)
class BudgetPolicy:
    """How reservations are kept.

    Args:
        lease_seconds: a reservation that is not renewed for so long has lapsed: its worker is dead.
        recheck_seconds: when a step that found no money asks again unless it is woken before.
        known_seconds: for how long a process trusts what it knows of budgets set by hand.
    """

    lease_seconds: float = 8.0
    recheck_seconds: float = 30.0
    known_seconds: float = 1.0


@dataclass(frozen=True)
class Limit:
    """A budget.

    Args:
        scope: `namespace`, `day` (the namespace's, for each day), `agent:NAME`, `workflow:NAME` or `run:ID`.
        nanos: the amount, in billionths of a dollar.
        per: for each day or month in UTC, or in all.
        on_exhausted: what becomes of a call for which no money is left.
        models: what `cheaper_model` tries, in this order.
    """

    scope: str
    nanos: int
    per: Period = "total"
    on_exhausted: OnExhausted = "park"
    models: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """As a run's record keeps it."""
        return {**asdict(self), "models": list(self.models)}

    @classmethod
    def of_json(cls, raw: Mapping[str, Any]) -> Limit:
        return cls(**{**raw, "models": tuple(raw.get("models", ()))})

    def account(self, now: float | None = None) -> str:
        """The name of what it is counted under at a moment; the scope and the period that it falls into."""
        return account_of(self.scope, self.per, now)

    @property
    def keep_seconds(self) -> int:
        """How long its account is kept after its last use."""
        return _KEEP_SECONDS["day" if self.scope.startswith("run:") else self.per]


@dataclass(frozen=True)
class Reservation:
    """Money put aside for one call; settled once, renewed while the call lasts."""

    id: str
    nanos: int
    lease_seconds: float


@dataclass(frozen=True)
class Exhausted:
    """No money is left for a call; nothing was reserved.

    Args:
        limit: the budget that says so, with the amount that is in force.
        wanted: billionths of a dollar that the call may cost.
        left: what is left of the budget, without what is reserved for other calls.
        for_good: false where calls in flight may still give back what they do not need.
        account: where the call waits for money.
    """

    limit: Limit
    wanted: int
    left: int
    for_good: bool
    account: str


@dataclass(frozen=True)
class BudgetStatus:
    """How a budget stands, in billionths of a dollar.

    Args:
        account: scope and period.
        limit: the amount in force; `None` where none is any more.
        spent: true costs.
        reserved: for calls in flight.
        uncertain: the most that calls may have cost whose end nobody has heard of.
        waiting: steps that wait for money.
        by_hand: whether the amount was set by hand.
    """

    scope: str
    account: str
    limit: int | None
    spent: int
    reserved: int
    uncertain: int
    waiting: int
    by_hand: bool

    @property
    def left(self) -> int | None:
        """What may still be reserved."""
        return None if self.limit is None else self.limit - self.spent - self.reserved - self.uncertain


def account_of(scope: str, per: str, now: float | None = None) -> str:
    period = "day" if scope == DAY else per
    moment = time.gmtime(time.time() if now is None else now)
    return f"{scope}:{time.strftime(_PATTERNS[period], moment)}"


def scope_of(text: str) -> str:
    """A scope as it was typed, checked.

    Raises:
        InputError: it is none.
    """
    kind, colon, name = text.partition(":")
    if text in (NAMESPACE, DAY) or (kind in _NAMED and colon and name):
        return text
    hint = "scopes are namespace, day, agent:NAME, workflow:NAME and run:ID"
    raise InputError(f"{text!r} is not what a budget can be for", {"hint": hint})


def nanos_of(usd: object) -> int:
    """An amount of dollars in whole billionths.

    Raises:
        InputError: it is not an amount, is negative, or is too large.
    """
    try:
        amount = Decimal(str(usd))
    except InvalidOperation:
        amount = Decimal("NaN")
    if isinstance(usd, bool) or not amount.is_finite() or not 0 <= amount <= LARGEST_USD:
        hint = f"give a number from 0 to {LARGEST_USD}, for example 2.50"
        raise InputError(f"{usd!r} is not an amount of dollars", {"hint": hint})
    return int(amount * NANOS)


def dollars(nanos: int) -> str:
    """An amount as people write it."""
    amount = usd(nanos)
    return f"${amount:.2f}" if amount >= 1 or nanos % 10_000_000 == 0 else f"${amount:.4f}"
