"""How long does the whole fleet wait when the provider says so, and when may money be spent again?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

MONTHLY_CODE = "enforced_spend_limit_reached"
"""The provider's own monthly cap: it ends at 00:00 UTC on the 1st.
https://platform.claude.com/docs/en/api/rate-limits"""


@dataclass(frozen=True)
class GatePolicy:
    """How a refusal of the provider closes the gate.

    Args:
        unstated_seconds: how long a 429 without `retry-after` closes it.
        longest_seconds: no `retry-after` closes it for longer.
        recheck_seconds: nobody is told to wait for longer, since a person may open it sooner.
        spend_recheck_seconds: after a spend limit whose end is unknown one call is tried so much later.
    """

    unstated_seconds: float = 1.0
    longest_seconds: float = 3600.0
    recheck_seconds: float = 300.0
    spend_recheck_seconds: float = 3600.0

    def for_lua(self) -> dict[str, float]:
        return {
            "unstated": self.unstated_seconds,
            "longest": self.longest_seconds,
            "recheck": self.recheck_seconds,
        }


def spend_stops_until(code: str | None, now: float, policy: GatePolicy) -> float:
    """When a call may be tried again after a spend limit was reached.

    Args:
        code: the provider's error code, where it gave one.
        now: Unix time.
    """
    if code != MONTHLY_CODE:
        return now + policy.spend_recheck_seconds
    today = datetime.fromtimestamp(now, UTC)
    year, month = (today.year + 1, 1) if today.month == 12 else (today.year, today.month + 1)  # noqa: PLR2004
    return datetime(year, month, 1, tzinfo=UTC).timestamp()
