"""May this call be made now, and if not, when is it worth asking again?

One Lua call decides at admission, one takes in how the call ended, for all workers together. Where their
Redis does not answer, calls are admitted: a guard must not be what stops the work.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import redis

from cf_workers._redis import GuardKeys, Keys, RedisClient, Script, server_time
from cf_workers.resilience.breaker import Transition, noted, transitions
from cf_workers.resilience.ending import Ending
from cf_workers.resilience.gate import spend_stops_until
from cf_workers.resilience.limits import read_headers
from cf_workers.resilience.permit import Admitted, Ask, Permit, Refused, Settled, Unasked, Waiter
from cf_workers.resilience.policy import GuardPolicy
from cf_workers.resilience.scope import Scope
from cf_workers.resilience.status import ScopeStatus, status_of
from cf_workers.wire import canonical_json

log = logging.getLogger(__name__)

_ROOM = "cf_workers.resilience"
_ADMIT, _SETTLE, _RENEW = Script(_ROOM, "admit"), Script(_ROOM, "settle"), Script(_ROOM, "renew")
_FORWARD, _LEAVE = Script(_ROOM, "forward"), Script(_ROOM, "leave")
_DESCRIBE, _RESET = Script(_ROOM, "describe"), Script(_ROOM, "reset")

_REMEMBER_EVERY_SECONDS = 60.0
_CHANGES_KEPT = 1000
_BLIND_CALLS, _FAILURES = "guard_blind_calls", "guard_failures"


class Guard:
    """The guards of all scopes, for any number of threads.

    Args:
        client: its time-outs bound how long an admission takes: `connect(url, timeout_seconds=0.25)`.
        keys: of a namespace that all tenants of a credential have in common.
        draw: random numbers from 0 to 1.
    """

    def __init__(
        self,
        client: RedisClient,
        keys: Keys,
        policy: GuardPolicy | None = None,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._keys = keys
        self.policy = policy or GuardPolicy()
        self._draw = draw
        self._lock = threading.Lock()
        self._spelt: dict[str, str] = {}
        self._remembered: dict[Scope, float] = {}
        self._blind_until = 0.0
        self._failures = 0
        self._blind_admissions = 0
        self._blind = False
        self._reported = Unasked(0, 0)

    @property
    def blind_admissions(self) -> int:
        """Calls this process admitted without asking, since Redis did not answer."""
        return self._blind_admissions

    @property
    def failures(self) -> int:
        """How often Redis failed under this process's guard."""
        return self._failures

    @property
    def blind(self) -> bool:
        """Whether Redis failed when it was last asked, so that calls are admitted unasked."""
        return self._blind

    def report(self) -> None:
        """Add to the fleet's totals what this process has counted since the last report."""
        with self._lock:
            now = Unasked(self._blind_admissions, self._failures)
            calls = now.calls - self._reported.calls
            failures = now.failures - self._reported.failures
            if not calls and not failures:
                return
            self._reported = now
        with self._client.pipeline() as pipe:
            pipe.hincrby(self._keys.counters, _BLIND_CALLS, calls)
            pipe.hincrby(self._keys.counters, _FAILURES, failures)
            try:
                pipe.execute()
            except redis.RedisError:
                with self._lock:
                    self._reported = Unasked(now.calls - calls, now.failures - failures)

    def unasked(self) -> Unasked:
        """The fleet's totals.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        calls, failures = self._client.hmget(self._keys.counters, [_BLIND_CALLS, _FAILURES])
        return Unasked(int(calls or 0), int(failures or 0))

    def admit(self, ask: Ask) -> Admitted | Refused:
        """Decide on a call, and reserve what it needs if it may be made."""
        permit = Permit(ask.scope, uuid.uuid4().hex)
        told = self._told(_ADMIT, ask.scope, self._admission(ask, permit))
        if told is None:
            with self._lock:
                self._blind_admissions += 1
            return Admitted(replace(permit, blind=True))
        self._remember(ask.scope, told["now"])
        if told["admitted"]:
            changes = self._noted(ask.scope, told)
            return Admitted(replace(permit, probe=bool(told["probe"])), changes)
        return Refused(ask.scope, told["reason"], max(0.0, told["retry_in"]), told.get("until_"))

    def settle(self, permit: Permit, ending: Ending) -> Settled:
        """Take in how a call ended. Safe to repeat, and to leave out: the permit then lapses."""
        scope = permit.scope
        args = {
            "permit": permit.id,
            "outcome": ending.outcome,
            "congestion": ending.congestion,
            "charge": ending.charge,
            "input": ending.input_tokens,
            "output": ending.output_tokens,
            "retry_after": ending.retry_after,
            "told": read_headers(ending.rate_limits),
            "age": ending.headers_age_seconds,
            "stop_until": self._stop_until(ending) if ending.spend_limit else None,
            "stop_code": (ending.error_code or "unstated") if ending.spend_limit else "",
        }
        told = self._told(_SETTLE, scope, args)
        if told is None:
            return Settled(known=False)
        return Settled(
            bool(told["known"]),
            self._noted(scope, told),
            told.get("gate_until"),
            told.get("stopped_until"),
        )

    def forward(self, scope: Scope) -> tuple[Waiter, ...]:
        """Those who may ask again now although their turn comes later, since there is room for them.

        They count as on their way. Nobody where Redis does not answer.
        """
        told = self._told(_FORWARD, scope, {})
        # Lua spells an empty list as an empty object
        return tuple(Waiter(*member.split("\t", 2)) for member in (told or {}).get("waiters") or ())

    def leave(self, scope: Scope, waiters: Iterable[Waiter]) -> None:
        """Take those out of the line who will not ask again."""
        self._told(_LEAVE, scope, {"members": [str(waiter) for waiter in waiters]})

    def renew(self, permits: Iterable[Permit]) -> frozenset[Permit]:
        """Keep calls counted as in flight, well within each `lease_seconds`; those that have lapsed."""
        by_scope: dict[Scope, dict[str, Permit]] = defaultdict(dict)
        for permit in permits:
            if not permit.blind:
                by_scope[permit.scope][permit.id] = permit
        gone: set[Permit] = set()
        for scope, held in by_scope.items():
            gone.update(held[name] for name in self._renew_all(scope, list(held)))
        return frozenset(gone)

    def scopes(self) -> list[Scope]:
        """Every scope used lately, for `breaker status` and `limits status`.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        return sorted(
            (Scope.parse(_text(name)) for name in self._client.zrange(self._keys.guards, 0, -1)), key=str
        )

    def status(self, scope: Scope) -> ScopeStatus:
        """The state of all guards of a scope.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        return status_of(scope, json.loads(self._run(_DESCRIBE, scope, {})))

    def reset(self, scope: Scope, *, everything: bool = False) -> tuple[Transition, ...]:
        """Close the breaker.

        Args:
            everything: open the gate and lift a spending stop too, and forget learnt limits and the window.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        told = json.loads(self._run(_RESET, scope, {"everything": everything}))
        return self._noted(scope, told)

    def changes(self, limit: int = 20) -> list[Transition]:
        """The latest changes of all breakers, the newest first.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        found = self._client.xrevrange(self._keys.guard_changes, count=limit)
        return [noted(json.loads(_text(_field(fields, "change")))) for _, fields in found]

    def _noted(self, scope: Scope, told: Mapping[str, Any]) -> tuple[Transition, ...]:
        """The changes that a script reported, kept for those who ask later."""
        changes = transitions(scope, told.get("changes"))
        try:
            for change in changes:
                fields = {"change": canonical_json({**asdict(change), "scope": str(scope)})}
                self._client.xadd(self._keys.guard_changes, fields, maxlen=_CHANGES_KEPT, approximate=True)
        except redis.RedisError as error:
            self._failed(error)
        return changes

    def _admission(self, ask: Ask, permit: Permit) -> dict[str, Any]:
        return {
            "permit": permit.id,
            "tenant": ask.tenant,
            "weight": self.policy.fairness.weight_of(ask.tenant),
            "lane": ask.lane,
            "waiter": ask.waiter,
            "input": ask.input_tokens,
            "output": ask.output_tokens,
            "lease": self.policy.window.lease_seconds,
        }

    def _stop_until(self, ending: Ending) -> float:
        try:
            now = server_time(self._client)
        except redis.RedisError:
            now = time.time()
        return spend_stops_until(ending.error_code, now, self.policy.gate)

    def _renew_all(self, scope: Scope, ids: list[str]) -> list[str]:
        args = {"permits": ids, "lease": self.policy.window.lease_seconds, "ttl": self.policy.keep_seconds}
        try:
            return [_text(name) for name in self._run(_RENEW, scope, args)]
        except redis.RedisError as error:
            self._failed(error)
            return []

    def _told(self, script: Script, scope: Scope, args: dict[str, Any]) -> dict[str, Any] | None:
        """The script's reply, or `None` where Redis fails now or has failed just before."""
        if time.monotonic() < self._blind_until:
            return None
        try:
            told: dict[str, Any] = json.loads(self._run(script, scope, args))
        except redis.RedisError as error:
            self._failed(error)
            return None
        self._blind = False
        return told

    def _run(self, script: Script, scope: Scope, args: dict[str, Any]) -> Any:
        keys = _named(self._keys.guard(scope.credential, scope.model_class), script.keys)
        own = {"policy": self._policy_for(scope.model_class), "random": self._draw()}
        args = {name: value for name, value in own.items() if name in script.args} | args
        return script(self._client, keys, args)

    def _policy_for(self, model_class: str) -> str:
        spelt = self._spelt.get(model_class)
        if spelt is None:
            spelt = self._spelt[model_class] = self.policy.for_lua(model_class)
        return spelt

    def _failed(self, error: redis.RedisError) -> None:
        with self._lock:
            self._failures += 1
            self._blind = True
            blind_already = time.monotonic() < self._blind_until
            self._blind_until = time.monotonic() + self.policy.blind_seconds
        if not blind_already:
            log.warning("guard.blind error=%s", type(error).__name__)

    def _remember(self, scope: Scope, now: float) -> None:
        if now - self._remembered.get(scope, 0.0) < _REMEMBER_EVERY_SECONDS:
            return
        self._remembered[scope] = now
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.zadd(self._keys.guards, {str(scope): now})
                pipe.zremrangebyscore(self._keys.guards, "-inf", now - self.policy.keep_seconds)
                pipe.execute()
        except redis.RedisError as error:
            self._failed(error)


def _named(keys: GuardKeys, names: Iterable[str]) -> dict[str, str]:
    return {name: getattr(keys, name) for name in names}


def _field(fields: Mapping[Any, Any], name: str) -> str | bytes:
    """A field of a stream's entry, whether the client decodes or not."""
    found: str | bytes = fields[name] if name in fields else fields[name.encode()]
    return found


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
