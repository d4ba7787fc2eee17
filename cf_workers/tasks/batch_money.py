"""Is there money for a call that is made later? Put aside when its step begins to wait for a batch.

A reservation outlives the process that made it, and is found again by the step's mark: whoever learns what
has become of the row settles it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable

import redis

from cf_workers.agents.definition import AgentCall
from cf_workers.agents.estimate import most_nanos
from cf_workers.budgets import Exhausted, Ledger, Reservation
from cf_workers.tasks.answering import Caller, Wake
from cf_workers.tasks.budgeted import scopes_of
from cf_workers.tasks.shortage import not_asked, refusal, unpriced_error

log = logging.getLogger(__name__)

_LEASE_SECONDS = 5 * 86_400.0
"""A row is sent a few times at most, and each batch ends within a day."""


class BatchMoney:
    """Reserves for the batch lane, and settles.

    Args:
        wake: told whom to wake when a row has cost less than was reserved for it.
    """

    def __init__(self, ledger: Ledger, *, wake: Wake) -> None:
        self._ledger = ledger
        self._wake = wake

    def reserve(self, call: AgentCall, caller: Caller, mark: str) -> None:
        """Put aside the most that a call can cost in a batch: half of it, its prompt written for an hour.

        Raises:
            NotNow: there is no money for it now.
            BudgetError: there is none and the budget says to fail, or the price of the call is not known.
        """
        limits = self._ledger.in_force(lambda: scopes_of(call, caller), caller.limits)
        if not limits:
            return
        most = most_nanos(call, cache_ttl="1h")
        if most is None:
            raise unpriced_error(call.model, limits[0])
        try:
            found = self._ledger.reserve(
                limits,
                -(-most // 2),
                waiter=caller.waiter,
                lease_seconds=_LEASE_SECONDS,
                id=_reservation(mark),
            )
        except redis.RedisError as error:
            raise not_asked(error) from None
        if isinstance(found, Exhausted):
            raise refusal(found, caller, self._ledger)

    def settle(self, marks: Iterable[str], nanos: int | None) -> None:
        """Replace what was put aside for steps by what each of them cost; nothing where nothing was.

        Args:
            nanos: `None` where the price is not known: all that was put aside then counts as spent.
        """
        try:
            woken = [
                waiter
                for mark in marks
                for waiter in self._ledger.settle(Reservation(_reservation(mark), 0, 0.0), nanos)
            ]
            if woken:
                self._wake(woken)
        except redis.RedisError as error:
            log.warning("budget.not_settled error=%s", type(error).__name__)


def _reservation(mark: str) -> str:
    return hashlib.sha256(f"batch\n{mark}".encode()).hexdigest()[:32]
