"""What do the guards of a scope look like to a person, a probe or a metric?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cf_workers.resilience.breaker import State
from cf_workers.resilience.scope import Scope


@dataclass(frozen=True)
class BreakerStatus:
    """State of the breaker.

    Args:
        until: Unix time at which an open breaker lets probes through.
        successes, faults: outcomes within the window.
        openings: how often in a row it has opened.
        probes: in flight.
        changes: how often it has changed its state, since the scope came into use.
    """

    state: State
    since: float | None
    until: float | None
    successes: int
    faults: int
    consecutive_faults: int
    openings: int
    probes: int
    probes_answered: int
    changes: int = 0


@dataclass(frozen=True)
class BucketStatus:
    """State of one token bucket.

    Args:
        level: what may be used at once; below 0 when replies cost more than was estimated.
        per_minute: in force: the lower one of what is configured and what the provider told.
    """

    level: float
    capacity: float
    per_minute: float
    configured: float | None
    told: float | None

    @property
    def fill(self) -> float:
        """From 0 to 1."""
        return max(0.0, self.level / self.capacity)


@dataclass(frozen=True)
class WindowStatus:
    """State of the window.

    Args:
        size: `None` while unlimited.
        lost: flights whose holder died.
        call_seconds: how long calls have been taking.
    """

    size: int | None
    in_flight: int
    call_seconds: float | None
    lost: int
    cut_at: float | None


@dataclass(frozen=True)
class WaiterStatus:
    """Those who were refused and will ask again; by reason it is an estimate where they are very many."""

    total: int
    reasons: Mapping[str, int]
    tenants: Mapping[str, int]
    lanes: Mapping[str, int]


@dataclass(frozen=True)
class ScopeStatus:
    """All guards of one scope at one moment; times are Unix times of the server.

    Args:
        refused: how often calls were refused, by reason, since the scope came into use.
    """

    scope: Scope
    now: float
    breaker: BreakerStatus
    buckets: Mapping[str, BucketStatus]
    window: WindowStatus
    waiters: WaiterStatus
    gate_until: float | None
    gate_reason: str | None
    stopped_until: float | None
    stopped_code: str | None
    refused: Mapping[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON values, for `--json`."""
        document = asdict(self)
        for kind, bucket in self.buckets.items():
            document["buckets"][kind]["fill"] = round(bucket.fill, 4)
        return document


def status_of(scope: Scope, told: Mapping[str, Any]) -> ScopeStatus:
    """The status that `describe.lua` told."""
    gate, spend, buckets = (_map(told[name]) for name in ("gate", "spend", "buckets"))
    return ScopeStatus(
        scope=scope,
        now=told["now"],
        breaker=_breaker(told["breaker"]),
        buckets={kind: _bucket(bucket) for kind, bucket in sorted(buckets.items())},
        window=_window(told["window"]),
        waiters=_waiters(told["waiters"]),
        gate_until=gate.get("until_"),
        gate_reason=gate.get("reason"),
        stopped_until=spend.get("until_"),
        stopped_code=spend.get("code"),
        refused=_counts(told["refused"]),
    )


def _breaker(told: Mapping[str, Any]) -> BreakerStatus:
    return BreakerStatus(
        state=told["state"],
        since=told.get("since"),
        until=told.get("until_"),
        successes=int(told["good"]),
        faults=int(told["bad"]),
        consecutive_faults=int(told["consecutive"]),
        openings=int(told["openings"]),
        probes=int(told["probes"]),
        probes_answered=int(told["successes"]),
        changes=int(told["changes"]),
    )


def _bucket(told: Mapping[str, Any]) -> BucketStatus:
    return BucketStatus(
        told["level"], told["capacity"], told["per_minute"], told.get("configured"), told.get("told")
    )


def _window(told: Mapping[str, Any]) -> WindowStatus:
    size = told.get("size")
    return WindowStatus(
        size=None if size is None else int(size),
        in_flight=int(told["in_flight"]),
        call_seconds=told.get("call_seconds"),
        lost=int(told["lost"]),
        cut_at=told.get("cut_at"),
    )


def _waiters(told: Mapping[str, Any]) -> WaiterStatus:
    return WaiterStatus(
        int(told["total"]), *(_counts(told[name]) for name in ("reasons", "tenants", "lanes"))
    )


def _map(told: Any) -> Mapping[str, Any]:
    """Lua has one empty table, which its JSON spells as an object or as a list."""
    return told if isinstance(told, Mapping) else {}


def _counts(told: Any) -> dict[str, int]:
    return {name: int(number) for name, number in _map(told).items()}
