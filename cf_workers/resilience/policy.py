"""What rules admission, all together?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cf_workers.resilience.breaker import BreakerPolicy
from cf_workers.resilience.concurrency import WindowPolicy
from cf_workers.resilience.fairness import FairnessPolicy
from cf_workers.resilience.gate import GatePolicy
from cf_workers.resilience.limits import LimitsPolicy
from cf_workers.wire import canonical_json


@dataclass(frozen=True)
class GuardPolicy:
    """All that rules admission.

    Args:
        keep_seconds: state of a scope that nobody uses is forgotten after this time.
        blind_seconds: after a failure of Redis this process admits for so long without asking it.
        limits_by_class: limits of model classes that differ from `limits`.
    """

    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    limits: LimitsPolicy = field(default_factory=LimitsPolicy)
    gate: GatePolicy = field(default_factory=GatePolicy)
    window: WindowPolicy = field(default_factory=WindowPolicy)
    fairness: FairnessPolicy = field(default_factory=FairnessPolicy)
    limits_by_class: Mapping[str, LimitsPolicy] = field(default_factory=dict)
    keep_seconds: int = 86_400
    blind_seconds: float = 1.0

    def for_lua(self, model_class: str) -> str:
        """What the scripts read of it, as JSON."""
        limits = self.limits_by_class.get(model_class, self.limits)
        return canonical_json(
            {
                "breaker": self.breaker.for_lua(),
                "limits": limits.for_lua(),
                "gate": self.gate.for_lua(),
                "window": self.window.for_lua(),
                "line": self.fairness.for_lua(),
                "ttl": self.keep_seconds,
            }
        )
