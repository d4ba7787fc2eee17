"""Is there money for this call? Reserved before it in every budget that applies, settled after it.

One Lua call decides for all budgets, all or nothing, so what is spent and reserved together never exceeds an
amount, however many workers ask. A reservation whose worker died lapses: what its call may have cost counts
as spent, since nobody can say that it did not.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import redis

from cf_workers._redis import Keys, RedisClient, Script
from cf_workers.budgets.limit import (
    PERIODS,
    BudgetPolicy,
    BudgetStatus,
    Exhausted,
    Limit,
    Period,
    Reservation,
    account_of,
)
from cf_workers.wire import canonical_json

log = logging.getLogger(__name__)

_ROOM = "cf_workers.budgets"
_RESERVE, _SETTLE, _RENEW, _SET = (Script(_ROOM, name) for name in ("reserve", "settle", "renew", "set"))

_KEPT_SECONDS = 86_400
"""For so long after its lease a lapsed reservation can still be settled."""


class Ledger:
    """All budgets of a namespace, for any number of threads.

    What reserves or changes something raises `redis.RedisError` when the server does not answer: where there
    is a budget, no money is spent without it.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        policy: BudgetPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._keys = keys
        self.policy = policy or BudgetPolicy()
        self._clock = clock
        self._lock = threading.Lock()
        self._by_hand: Mapping[str, Mapping[str, Any]] = {}
        self._read_at = float("-inf")

    def in_force(self, scopes: Callable[[], Sequence[str]], declared: Sequence[Limit]) -> tuple[Limit, ...]:
        """The budgets that rule a call: those declared, and those that were set by hand for its scopes."""
        by_hand = self.by_hand()
        if not by_hand:
            return tuple(declared)
        wanted = {limit.scope: limit for limit in declared}
        for scope in scopes():
            if found := by_hand.get(scope):
                known = wanted.get(scope)
                amount = int(found["nanos"])
                wanted[scope] = (
                    replace(known, nanos=amount) if known else Limit(scope, amount, found.get("per", "total"))
                )
        return tuple(wanted.values())

    def by_hand(self) -> Mapping[str, Mapping[str, Any]]:
        """Amounts set by hand, by scope; as old as `known_seconds`, or as the server's absence."""
        with self._lock:
            now = self._clock()
            if now - self._read_at >= self.policy.known_seconds:
                self._read_at = now
                try:
                    found = self._client.hgetall(self._keys.budgets)
                    self._by_hand = {scope: json.loads(amount) for scope, amount in found.items()}
                except redis.RedisError as error:
                    log.warning("budgets.not_read error=%s", type(error).__name__)
            return self._by_hand

    def reserve(
        self,
        limits: Sequence[Limit],
        nanos: int,
        *,
        waiter: str = "",
        lease_seconds: float | None = None,
        id: str = "",
    ) -> Reservation | Exhausted:
        """Put money aside for one call.

        Args:
            nanos: the most that it can cost.
            waiter: woken once there may be money, if there is none now.
            lease_seconds: until it must be renewed; the policy's if not given.
            id: by which another process can settle it; one that is there already is not made twice.
        """
        lease = self.policy.lease_seconds if lease_seconds is None else lease_seconds
        made = Reservation(id or uuid.uuid4().hex, nanos, lease)
        answer = _RESERVE(
            self._client,
            {
                "amounts": self._keys.budgets,
                "leases": self._keys.budget_leases,
                "reservation": self._keys.reservation(made.id),
                "used": self._keys.budgets_used,
            },
            {
                "accounts": [self._account(limit) for limit in limits],
                "nanos": nanos,
                "lease": lease,
                "keep": int(lease) + _KEPT_SECONDS,
                "waiter": waiter,
            },
        )
        if int(answer[0]):
            return made
        short = limits[int(answer[1]) - 1]
        amount, gone = int(answer[2]), int(answer[3])
        return Exhausted(
            replace(short, nanos=amount), nanos, amount - gone, bool(int(answer[5])), short.account()
        )

    def settle(self, reservation: Reservation, nanos: int | None) -> list[str]:
        """Replace a reservation by what the call cost. Safe to repeat, and to leave out: it then lapses.

        Args:
            nanos: `None` where nobody knows: all that was reserved then counts as spent.

        Returns:
            Those who waited and for whom there may be money now.
        """
        return list(
            _SETTLE(
                self._client,
                {
                    "amounts": self._keys.budgets,
                    "leases": self._keys.budget_leases,
                    "reservation": self._keys.reservation(reservation.id),
                },
                {"nanos": nanos},
            )
        )

    def renew(self, reservations: Iterable[Reservation]) -> int:
        """Keep reservations of calls under way; the number that had not lapsed."""
        held = [self._keys.reservation(one.id) for one in reservations]
        if not held:
            return 0
        args = {"reservations": held, "lease": self.policy.lease_seconds}
        return int(_RENEW(self._client, {"leases": self._keys.budget_leases}, args))

    def waits(self, account: str, waiter: str) -> bool:
        """Whether somebody still waits for money there; false once they have been woken."""
        try:
            return self._client.zscore(self._keys.budget_waiting(account), waiter) is not None
        except redis.RedisError:  # who is not woken asks again by itself
            return True

    def set(self, scope: str, nanos: int | None, per: Period | None = None) -> list[str]:
        """Set the amount of a budget, whatever is declared; `None` goes back to what is declared.

        Args:
            per: for which time, where no budget of that scope is declared; as before if not given.

        Returns:
            Those who wait for it, and may go on.
        """
        before = self._client.hget(self._keys.budgets, scope)
        period = per or (json.loads(before)["per"] if before else "total")
        amount = "" if nanos is None else canonical_json({"nanos": str(nanos), "per": period})
        waiting = [self._keys.budget_waiting(account_of(scope, each)) for each in PERIODS]
        with self._lock:
            self._read_at = float("-inf")
        args = {"scope": scope, "amount": amount, "waiting": waiting}
        return list(_SET(self._client, {"amounts": self._keys.budgets}, args))

    def drop_runs(self, ended: Callable[[str], bool]) -> None:
        """Forget amounts of runs that are no longer kept."""
        for scope in self._client.hkeys(self._keys.budgets):
            kind, _, run = scope.partition(":")
            if kind == "run" and ended(run):
                self._client.hdel(self._keys.budgets, scope)

    def statuses(self, declared: Sequence[Limit] = ()) -> list[BudgetStatus]:
        """How all budgets stand that are declared, were set by hand, or were used lately."""
        by_hand = {scope: json.loads(raw) for scope, raw in self._client.hgetall(self._keys.budgets).items()}
        known = {limit.account(): limit.nanos for limit in declared}
        periods = {limit.scope: limit.per for limit in declared}
        for scope, found in by_hand.items():
            known[account_of(scope, periods.get(scope, found.get("per", "total")))] = int(found["nanos"])
        used = self._client.zrange(self._keys.budgets_used, 0, -1)
        return [self._status(account, known, by_hand) for account in sorted({*known, *used})]

    def _status(
        self, account: str, known: Mapping[str, int], by_hand: Mapping[str, Mapping[str, Any]]
    ) -> BudgetStatus:
        scope = account.rpartition(":")[0]
        held = self._client.hgetall(self._keys.budget(account))
        set_here = by_hand.get(scope)
        last = int(held["limit"]) if "limit" in held else None
        amount = int(set_here["nanos"]) if set_here else known.get(account, last)
        return BudgetStatus(
            scope=scope,
            account=account,
            limit=amount,
            spent=int(held.get("spent", 0)),
            reserved=int(held.get("reserved", 0)),
            uncertain=int(held.get("uncertain", 0)),
            waiting=int(self._client.zcard(self._keys.budget_waiting(account))),
            by_hand=set_here is not None,
        )

    def _account(self, limit: Limit) -> dict[str, Any]:
        account = limit.account()
        return {
            "scope": limit.scope,
            "account": account,
            "key": self._keys.budget(account),
            "waiting": self._keys.budget_waiting(account),
            "limit": str(limit.nanos),
            "ttl": limit.keep_seconds,
        }
