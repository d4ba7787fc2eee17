"""Budgets, which stand alone: whether money is left for a call, counted in billionths of a dollar."""

from cf_workers.budgets.ledger import Ledger
from cf_workers.budgets.limit import (
    LARGEST_USD,
    PERIODS,
    REACTIONS,
    BudgetPolicy,
    BudgetStatus,
    Exhausted,
    Limit,
    OnExhausted,
    Period,
    Reservation,
    dollars,
    nanos_of,
    scope_of,
)

__all__ = [
    "LARGEST_USD",
    "PERIODS",
    "REACTIONS",
    "BudgetPolicy",
    "BudgetStatus",
    "Exhausted",
    "Ledger",
    "Limit",
    "OnExhausted",
    "Period",
    "Reservation",
    "dollars",
    "nanos_of",
    "scope_of",
]
