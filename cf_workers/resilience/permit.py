"""What is asked of the guards, and what do they answer?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cf_workers.errors import ExecutionError, ProviderDownError, RateLimitedError, SpendLimitError
from cf_workers.resilience.breaker import Transition
from cf_workers.resilience.scope import Scope
from cf_workers.wire import BATCH

Reason = Literal[
    "spend_limit",
    "gate_closed",
    "breaker_open",
    "breaker_half_open",
    "in_flight",
    "requests",
    "input_tokens",
    "output_tokens",
    "priority",
    "share",
    "queue",
]


@dataclass(frozen=True)
class Ask:
    """A call somebody wants to make.

    Args:
        input_tokens: estimate of the input that is not read from the prompt cache.
        output_tokens: estimate; `None` takes what calls of this scope have been producing.
        tenant: who shares the credential with others, for example a namespace.
        lane: the queue it came by; `interactive` goes before everything else.
        waiter: what is refused asks again under this name, and keeps its place in the line by it.
    """

    scope: Scope
    input_tokens: int = 0
    output_tokens: int | None = None
    tenant: str = "default"
    lane: str = BATCH
    waiter: str | None = None


@dataclass(frozen=True)
class Permit:
    """Leave for one call; settled exactly once, renewed while the call lasts.

    Args:
        probe: whether the call finds out if the provider is back.
        blind: whether it was given without asking Redis, which did not answer.
    """

    scope: Scope
    id: str
    probe: bool = False
    blind: bool = False


@dataclass(frozen=True)
class Admitted:
    """The call may be made."""

    permit: Permit
    changes: tuple[Transition, ...] = ()


@dataclass(frozen=True)
class Refused:
    """The call may not be made now; nothing was reserved for it.

    Args:
        retry_in_seconds: when to ask again; spread, so that not all come at once.
        until: Unix time until which gate, breaker or spend limit refuse everybody, if they do.
    """

    scope: Scope
    reason: Reason
    retry_in_seconds: float
    until: float | None = None


@dataclass(frozen=True)
class Unasked:
    """What went by the guards since Redis failed.

    Args:
        calls: admitted without asking.
        failures: of Redis, under a guard.
    """

    calls: int
    failures: int


@dataclass(frozen=True)
class Waiter:
    """Somebody who was refused and may ask again before its time.

    Args:
        name: what it was asked under.
    """

    lane: str
    tenant: str
    name: str

    def __str__(self) -> str:
        return f"{self.lane}\t{self.tenant}\t{self.name}"


@dataclass(frozen=True)
class Settled:
    """What a settled call changed.

    Args:
        known: false for a permit that was settled before, has lapsed or was blind.
        gate_until: Unix time until which the gate is closed, if it is.
        stopped_until: Unix time until which no money is spent, if so.
    """

    known: bool
    changes: tuple[Transition, ...] = ()
    gate_until: float | None = None
    stopped_until: float | None = None


_WORDS: dict[Reason, str] = {
    "spend_limit": "a spend limit is reached",
    "gate_closed": "the provider asked to wait",
    "breaker_open": "the circuit breaker is open",
    "breaker_half_open": "the circuit breaker is half-open and its probes are on their way",
    "in_flight": "the most calls that may be in flight are",
    "requests": "the requests per minute are used up",
    "input_tokens": "the input tokens per minute are used up",
    "output_tokens": "the output tokens per minute are used up",
    "priority": "interactive work goes first",
    "share": "another tenant has had less than its share",
    "queue": "others wait already",
}


def explain(reason: Reason) -> str:
    """Why a call was refused, as the end of a sentence."""
    return _WORDS[reason]


def refusal_error(refused: Refused) -> ExecutionError:
    """The refusal as an error, for callers who would rather fail than wait."""
    message = f"No call was made: {explain(refused.reason)}."
    details = {"kind": refused.reason, "retry_after": refused.retry_in_seconds, "until": refused.until}
    if refused.reason == "spend_limit":
        return SpendLimitError(message, details)
    if refused.reason in ("breaker_open", "breaker_half_open"):
        return ProviderDownError(message, details)
    return RateLimitedError(message, details)
