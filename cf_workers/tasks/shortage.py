"""What is a call told for which there is no money? To wait, to fail, or to go another way."""

from __future__ import annotations

import logging

import redis

from cf_workers.budgets import Exhausted, Ledger, Limit, dollars
from cf_workers.errors import BudgetError
from cf_workers.money import usd
from cf_workers.tasks.answering import Caller, NotNow

log = logging.getLogger(__name__)

_SERVER_AWAY_SECONDS = 2.0


def refusal(short: Exhausted, caller: Caller, ledger: Ledger) -> NotNow | BudgetError:
    """What to raise for a call whose budget has too little left: it waits, unless the budget says to fail."""
    error = exhausted_error(short)
    if short.for_good and short.limit.on_exhausted == "fail":
        return error
    busy = "calls in flight have reserved what is left of a budget"
    reason = f"{error.message}; {error.hint}" if short.for_good else busy
    return NotNow(
        reason,
        ledger.policy.recheck_seconds,
        waits=lambda: ledger.waits(short.account, caller.waiter),
        instead=error if caller.fail_fast else None,
        batch_instead=short.for_good and short.limit.on_exhausted == "batch" and not caller.fail_fast,
    )


def not_asked(error: redis.RedisError) -> NotNow:
    """What to raise while the budgets cannot be asked: without their word nothing is spent."""
    log.warning("budget.not_asked error=%s", type(error).__name__)
    return NotNow("the budgets cannot be asked", _SERVER_AWAY_SECONDS)


def exhausted_error(short: Exhausted) -> BudgetError:
    """The error that says which budget has not enough, and how to raise it."""
    scope, amount = short.limit.scope, dollars(short.limit.nanos)
    return BudgetError(
        f"the budget {scope} of {amount} has {dollars(max(0, short.left))} left, "
        f"and the call may cost {dollars(short.wanted)}",
        {
            "hint": f"raise it with `cf-workers budget set {scope} DOLLARS`"
            if short.account
            else "raise it with --max-cost, or lower --max-tokens",
            "scope": scope,
            "budget_usd": usd(short.limit.nanos),
            "wanted_usd": usd(short.wanted),
        },
    )


def unpriced_error(model: str, limit: Limit) -> BudgetError:
    """The error for a call of which nobody can say what it costs at most."""
    return BudgetError(
        f"the price of the model {model!r} is not known, so the budget {limit.scope} cannot hold for it",
        {"hint": "use a model with a known price, or run it without a budget", "scope": limit.scope},
    )
