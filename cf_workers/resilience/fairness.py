"""Who goes first when there is not enough for all, and when do the others ask again?

Tenants that share a credential share its limits by weight, by start-time fair queueing (`scripts/line.lua`;
Goyal, Vin, Cheng 1996, https://doi.org/10.1145/248156.248171). A tenant alone has everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FairnessPolicy:
    """Shares, and the line of those who wait.

    Args:
        weights: of tenants; those not named have 1.
        interactive_reserve: share of slots and buckets that batch work leaves to interactive work.
        slack_calls: how many calls a tenant may be ahead of its share.
        interactive_slack_calls: the same for interactive calls before tenants that wait with batch alone.
        longest_wait_seconds: how far turns are handed out in advance; beyond it callers draw a time.
        grace_seconds: how long after its turn a caller still counts as waiting.
        spacing_seconds: between two turns when neither limits nor window say more.
        eagerness: turns come this much faster than calls can be admitted. Below 1, since turns are brought
            forward where there is room, and who comes too early comes in vain.
        turns: how often a caller that just misses keeps its place.
        ahead_seconds: about how long one whose turn is brought forward takes to come.
        at_once: how many turns are brought forward at a time, at most.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    interactive_reserve: float = 0.1
    slack_calls: float = 4.0
    interactive_slack_calls: float = 64.0
    longest_wait_seconds: float = 600.0
    grace_seconds: float = 5.0
    spacing_seconds: float = 0.02
    eagerness: float = 0.8
    turns: int = 5
    ahead_seconds: float = 0.1
    at_once: int = 50

    def __post_init__(self) -> None:
        for tenant, weight in self.weights.items():
            if weight <= 0:
                raise ValueError(f"the weight of tenant {tenant!r} must be above 0, not {weight!r}")
        if not 0 <= self.interactive_reserve < 1:
            raise ValueError(f"interactive_reserve must be in [0, 1), not {self.interactive_reserve!r}")

    def weight_of(self, tenant: str) -> float:
        return self.weights.get(tenant, 1.0)

    def for_lua(self) -> dict[str, float]:
        return {
            "reserve": self.interactive_reserve,
            "slack": self.slack_calls,
            "interactive_slack": self.interactive_slack_calls,
            "longest": self.longest_wait_seconds,
            "grace": self.grace_seconds,
            "spacing": self.spacing_seconds,
            "eagerness": self.eagerness,
            "turns": self.turns,
            "ahead": self.ahead_seconds,
            "at_once": self.at_once,
        }
