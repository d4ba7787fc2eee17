"""What does the end of a call mean for the guards?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cf_workers.errors import (
    CfWorkersError,
    OverloadedError,
    RateLimitedError,
    SpendLimitError,
    TransientError,
)
from cf_workers.resilience.breaker import Outcome

Congestion = Literal["", "rate", "ramp", "overload"]
Charge = Literal["usage", "estimate", "request", "nothing"]

_NEVER_SENT = ("unsendable", "pool")
_REJECTIONS, _SERVER_ERRORS = 400, 500


@dataclass(frozen=True)
class Ending:
    """How a call ended, in the guards' terms.

    Args:
        outcome: what it says of the provider's health.
        congestion: whether the provider asked for less.
        charge: what the provider has counted: as `input_tokens` and `output_tokens` say, our estimate, the
            request alone, or nothing.
        input_tokens: input that was not read from the prompt cache, that is, written to it or new.
        retry_after: seconds the provider asked to wait.
        rate_limits: the `anthropic-ratelimit-*` headers, with or without that prefix.
        headers_age_seconds: how long ago they came; for a stream they come first.
        spend_limit: a spend limit was reached.
        error_code: the provider's code for it.
    """

    outcome: Outcome
    congestion: Congestion = ""
    charge: Charge = "usage"
    input_tokens: int = 0
    output_tokens: int = 0
    retry_after: float | None = None
    rate_limits: Mapping[str, str] = field(default_factory=dict)
    headers_age_seconds: float = 0.0
    spend_limit: bool = False
    error_code: str | None = None


def answered(
    *,
    input_tokens: int,
    output_tokens: int,
    rate_limits: Mapping[str, str] | None = None,
    headers_age_seconds: float = 0.0,
) -> Ending:
    """The end of a call that brought a reply.

    Args:
        input_tokens: `input_tokens` plus `cache_creation_input_tokens` of the usage: cache reads are free.
    """
    return Ending(
        "success",
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        rate_limits=rate_limits or {},
        headers_age_seconds=headers_age_seconds,
    )


def never_sent() -> Ending:
    """The end of a call that was admitted and then not made, for example because the cache had the reply."""
    return Ending("none", charge="nothing")


def failed(error: CfWorkersError, *, rate_limits: Mapping[str, str] | None = None) -> Ending:
    """The end of a call that failed; only the provider's own faults count against the provider.

    Args:
        rate_limits: headers of the answer that said no, where there was one.
    """
    return replace(_judge(error), rate_limits=rate_limits or {})


def _judge(error: CfWorkersError) -> Ending:
    details = error.details
    if isinstance(error, SpendLimitError):
        return Ending("answered", charge="nothing", spend_limit=True, error_code=details.get("error_code"))
    if isinstance(error, RateLimitedError):
        congestion: Congestion = "ramp" if details.get("kind") == "ramp_limit" else "rate"
        return Ending("none", congestion, "nothing", retry_after=error.retry_after)
    if details.get("kind") in _NEVER_SENT:
        return never_sent()
    if isinstance(error, TransientError):
        return _of_transient(error)
    if details.get("usage"):
        return _used("success", details["usage"])
    return Ending("answered" if details.get("status") else "none", charge="request")


def _of_transient(error: TransientError) -> Ending:
    # A call that broke off has been counted at its start, and may have been in full.
    charge: Charge = "nothing" if error.details.get("kind") in ("dns", "connect") else "estimate"
    congestion: Congestion = "overload" if isinstance(error, OverloadedError) else ""
    outcome: Outcome = "fault"
    if error.status is not None and _REJECTIONS <= error.status < _SERVER_ERRORS:
        outcome = "answered"
    usage = error.details.get("usage")
    ending = _used(outcome, usage) if usage else Ending(outcome, charge=charge)
    return replace(ending, congestion=congestion, retry_after=error.retry_after)


def _used(outcome: Outcome, usage: Mapping[str, Any]) -> Ending:
    fresh = int(usage.get("input_tokens") or 0) + int(usage.get("cache_creation_input_tokens") or 0)
    return Ending(outcome, input_tokens=fresh, output_tokens=int(usage.get("output_tokens") or 0))
