"""How much may be asked per minute? Token buckets, configured or learnt from the provider's headers.

The buckets live in Redis (`scripts/buckets.lua`). An estimate is reserved at admission and settled by the
usage of the reply. https://platform.claude.com/docs/en/api/rate-limits
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

KINDS = ("requests", "input_tokens", "output_tokens")
_HEADER = re.compile(
    r"(?:anthropic-ratelimit-)?(requests|input-tokens|output-tokens)-(limit|remaining)", re.I
)


@dataclass(frozen=True)
class LimitsPolicy:
    """What may be used per minute; `None` is learnt from headers, and unlimited until one is seen.

    Args:
        input_tokens_per_minute: of input that is not read from the provider's prompt cache.
        burst_seconds: how many seconds' allowance may be used at once. The provider may enforce its limits
            over less than a minute.
    """

    requests_per_minute: float | None = None
    input_tokens_per_minute: float | None = None
    output_tokens_per_minute: float | None = None
    burst_seconds: float = 5.0

    def __post_init__(self) -> None:
        rates = (self.requests_per_minute, self.input_tokens_per_minute, self.output_tokens_per_minute)
        if any(rate is not None and rate <= 0 for rate in rates) or self.burst_seconds <= 0:
            raise ValueError("limits per minute and burst_seconds must be above 0")

    def for_lua(self) -> dict[str, float]:
        limits = {
            "requests": self.requests_per_minute,
            "input_tokens": self.input_tokens_per_minute,
            "output_tokens": self.output_tokens_per_minute,
            "burst": self.burst_seconds,
        }
        return {name: value for name, value in limits.items() if value is not None}


def read_headers(headers: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Limit and remainder of each kind, as far as the headers tell them.

    Args:
        headers: of an answer, with or without the prefix `anthropic-ratelimit-`; others are passed over.
    """
    told: dict[str, dict[str, float]] = {}
    for name, value in headers.items():
        found = _HEADER.fullmatch(name)
        if found and re.fullmatch(r"\d{1,15}", value.strip()):
            kind = found[1].lower().replace("-", "_")
            told.setdefault(kind, {})[found[2].lower()] = int(value)
    return told
