"""Does a rate limit let a request through, and what do the headers say about it?"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cf_workers.clock import Clock
from cf_workers.simulator.config import SimulatorConfig
from cf_workers.simulator.problem import ApiProblem

REQUESTS, INPUT, OUTPUT = "requests", "input-tokens", "output-tokens"
WORDS = {
    REQUESTS: "number of requests",
    INPUT: "number of input tokens",
    OUTPUT: "number of output tokens",
}


@dataclass
class TokenBucket:
    """Fills continuously up to its capacity; may be overdrawn by what became known too late.

    Args:
        per_minute: what flows in within a minute.
        capacity: what it holds when full.
    """

    per_minute: float
    capacity: float
    level: float
    at: float

    def refill(self, now: float) -> None:
        self.level = min(self.capacity, self.level + max(0.0, now - self.at) * self.per_minute / 60)
        self.at = now

    def wait_for(self, amount: float) -> float:
        """Seconds until `amount` may be taken; more than the capacity is let through when full."""
        missing = min(amount, self.capacity) - self.level
        return max(0.0, missing * 60 / self.per_minute)

    def seconds_to_full(self) -> float:
        return (self.capacity - self.level) * 60 / self.per_minute


@dataclass
class RateLimiter:
    """One set of buckets for each credential and model class; only what is configured is enforced."""

    clock: Clock
    config: SimulatorConfig
    _buckets: dict[tuple[str, str], dict[str, TokenBucket]] = field(default_factory=dict)

    def admit(self, credential: str, limits: str, input_tokens: int) -> None:
        """Take one request and its uncached input out of the buckets.

        Raises:
            ApiProblem: 429, with the whole seconds after which the request would pass.
        """
        buckets = self._refilled(credential, limits)
        wanted = {REQUESTS: 1.0, INPUT: float(input_tokens), OUTPUT: 1.0}
        waits = {kind: bucket.wait_for(wanted[kind]) for kind, bucket in buckets.items()}
        worst = max(waits, key=lambda kind: waits[kind], default=None)
        if worst is not None and waits[worst] > 0:
            raise self._refusal(worst, waits[worst], credential, limits)
        for kind in (REQUESTS, INPUT):
            if kind in buckets:
                buckets[kind].level -= wanted[kind]

    def settle(self, credential: str, limits: str, output_tokens: int) -> None:
        """Count the tokens that were really produced."""
        bucket = self._refilled(credential, limits).get(OUTPUT)
        if bucket:
            bucket.level -= output_tokens

    def headers(self, credential: str, limits: str) -> dict[str, str]:
        """The `anthropic-ratelimit-*` headers of what is enforced, and no others."""
        buckets = self._refilled(credential, limits)
        lines: dict[str, str] = {}
        for kind, bucket in buckets.items():
            lines |= self._lines(kind, bucket)
        tokens = [buckets[kind] for kind in (INPUT, OUTPUT) if kind in buckets]
        if tokens:
            lines |= self._lines("tokens", min(tokens, key=lambda bucket: bucket.level / bucket.capacity))
        return lines

    def _lines(self, kind: str, bucket: TokenBucket) -> dict[str, str]:
        full = datetime.fromtimestamp(self.clock.now() + bucket.seconds_to_full(), UTC)
        left = max(0, math.floor(bucket.level))
        prefix = f"anthropic-ratelimit-{kind}"
        return {
            f"{prefix}-limit": str(round(bucket.per_minute)),
            f"{prefix}-remaining": str(left if kind == REQUESTS else round(left, -3)),
            f"{prefix}-reset": full.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _refilled(self, credential: str, limits: str) -> dict[str, TokenBucket]:
        now = self.clock.now()
        buckets = self._buckets.get((credential, limits))
        if buckets is None:
            buckets = self._buckets[credential, limits] = self._full(now)
        for bucket in buckets.values():
            bucket.refill(now)
        return buckets

    def _full(self, now: float) -> dict[str, TokenBucket]:
        rates = {
            REQUESTS: self.config.requests_per_minute,
            INPUT: self.config.input_tokens_per_minute,
            OUTPUT: self.config.output_tokens_per_minute,
        }
        share = self.config.burst_seconds / 60
        return {
            kind: TokenBucket(rate, capacity := max(1.0, rate * share), capacity, now)
            for kind, rate in rates.items()
            if rate is not None
        }

    def _refusal(self, kind: str, wait: float, credential: str, limits: str) -> ApiProblem:
        rate = round(self._buckets[credential, limits][kind].per_minute)
        return ApiProblem(
            429,
            f"This request would exceed the simulated rate limit of {rate} per minute ({WORDS[kind]})",
            headers={"retry-after": str(max(1, math.ceil(wait))), **self.headers(credential, limits)},
        )
