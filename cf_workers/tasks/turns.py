"""Who need not wait for its turn any longer?

Refused steps are parked until the turn that the guards gave them. What makes room before that is not known in
advance: a tenant has left, a call has ended, a breaker has closed. So whoever publishes parked steps asks the
guards first, and wakes as many as there is room for.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from cf_workers._redis import Keys, RedisClient
from cf_workers.resilience import Guard, Scope, Waiter
from cf_workers.workflows.steps import Unparked, unpark

_LOOK_FOR_SCOPES_EVERY_SECONDS = 1.0
_PARKING_TAKES_SECONDS = 1.0


class Turns:
    """Wakes parked steps whose turn has come early, of all tenants of a credential.

    Args:
        client: where the steps of all tenants are parked; a tenant is a namespace.
        clock: seconds that pass.
    """

    def __init__(
        self, client: RedisClient, guard: Guard, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._guard = guard
        self._clock = clock
        self._scopes: list[Scope] = []
        self._looked_at = float("-inf")
        self._late: dict[Scope, dict[Waiter, float]] = {}

    def bring_forward(self) -> None:
        """Wake those for whom there is room now.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        if self._clock() - self._looked_at >= _LOOK_FOR_SCOPES_EVERY_SECONDS:
            self._looked_at = self._clock()
            self._scopes = self._guard.scopes()
        for scope in self._scopes:
            late = self._late.pop(scope, {})
            if waiters := {*late, *self._guard.forward(scope)}:
                self._wake(scope, waiters, late)

    def _wake(self, scope: Scope, waiters: Iterable[Waiter], late: Mapping[Waiter, float]) -> None:
        """Wake them; who was refused and is not parked yet is woken at the next look."""
        states = self._unparked(waiters)
        if gone := [waiter for waiter, state in states.items() if state == "gone"]:
            self._guard.leave(scope, gone)
        now = self._clock()
        since = {waiter: late.get(waiter, now) for waiter, state in states.items() if state == "running"}
        self._late[scope] = {
            waiter: first for waiter, first in since.items() if now - first < _PARKING_TAKES_SECONDS
        }

    def _unparked(self, waiters: Iterable[Waiter]) -> dict[Waiter, Unparked]:
        by_tenant: dict[str, list[Waiter]] = defaultdict(list)
        for waiter in waiters:
            by_tenant[waiter.tenant].append(waiter)
        states: dict[Waiter, Unparked] = {}
        for tenant, theirs in by_tenant.items():
            told = unpark(self._client, Keys(tenant), [waiter.name for waiter in theirs])
            states |= zip(theirs, told, strict=True)
        return states
