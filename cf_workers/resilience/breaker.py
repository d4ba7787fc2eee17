"""When is the provider left alone, and how is it found out that it is back?

The breaker lives in Redis (`scripts/breaker.lua`), one for all workers. Closed, it counts successes and
faults of the provider. Open, it refuses until a cooldown is over. Half-open, it lets a few probes through.
https://martinfowler.com/bliki/CircuitBreaker.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cf_workers.resilience.scope import Scope

State = Literal["closed", "open", "half_open"]
Outcome = Literal["success", "fault", "answered", "none"]
"""What a call says of the provider: it answered, it failed, it is up and said no, or nothing at all."""


@dataclass(frozen=True)
class BreakerPolicy:
    """When a breaker opens, for how long, and what closes it.

    Args:
        window_seconds: how far back outcomes count.
        minimum_calls: with fewer outcomes in the window their rate says nothing.
        failure_rate: share of faults that opens it, from 0 to 1.
        consecutive_failures: so many faults in a row open it, whatever the rate.
        cooldown_seconds: how long it stays open the first time.
        cooldown_growth: factor for each further opening in a row.
        longest_cooldown_seconds: bound of the growth.
        cooldown_jitter: up to this share is added at random.
        calm_seconds: closed for so long, it starts again with the first cooldown.
        probes: calls in flight while half-open, in the whole fleet.
        successes_to_close: probes that must be answered before it closes.
    """

    window_seconds: float = 30.0
    minimum_calls: int = 20
    failure_rate: float = 0.5
    consecutive_failures: int = 10
    cooldown_seconds: float = 5.0
    cooldown_growth: float = 2.0
    longest_cooldown_seconds: float = 30.0
    cooldown_jitter: float = 0.1
    calm_seconds: float = 60.0
    probes: int = 3
    successes_to_close: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.failure_rate <= 1:
            raise ValueError(f"failure_rate must be above 0 and at most 1, not {self.failure_rate!r}")
        if min(self.minimum_calls, self.consecutive_failures, self.probes, self.successes_to_close) < 1:
            raise ValueError("counts of a breaker must be at least 1")
        if min(self.window_seconds, self.cooldown_seconds) <= 0 or self.cooldown_growth < 1:
            raise ValueError("a breaker's window and cooldown must be above 0 s, and its growth at least 1")

    def for_lua(self) -> dict[str, float]:
        return {
            "window": self.window_seconds,
            "minimum": self.minimum_calls,
            "rate": self.failure_rate,
            "consecutive": self.consecutive_failures,
            "cooldown": self.cooldown_seconds,
            "growth": self.cooldown_growth,
            "longest": self.longest_cooldown_seconds,
            "jitter": self.cooldown_jitter,
            "calm": self.calm_seconds,
            "probes": self.probes,
            "successes": self.successes_to_close,
        }


@dataclass(frozen=True)
class Transition:
    """A breaker changed its state.

    Args:
        reason: consecutive_failures, failure_rate, cooldown_over, probe_failed, probes_succeeded or reset.
        at: Unix time of the server.
        until: when it may become half-open, if it opened.
    """

    scope: Scope
    before: State
    after: State
    reason: str
    at: float
    until: float | None = None

    def __str__(self) -> str:
        return f"breaker {self.scope}: {self.before} -> {self.after} ({self.reason})"


def transitions(scope: Scope, told: Any) -> tuple[Transition, ...]:
    """The changes a script reported; Lua spells an empty list as an empty object."""
    if not isinstance(told, list):
        return ()
    return tuple(_transition(scope, each) for each in told)


def _transition(scope: Scope, told: Mapping[str, Any]) -> Transition:
    return Transition(
        scope, told["before"], told["after"], told["reason"], float(told["at"]), told.get("until_")
    )


def noted(document: Mapping[str, Any]) -> Transition:
    """A change as it was kept."""
    return Transition(**{**document, "scope": Scope.parse(document["scope"])})
