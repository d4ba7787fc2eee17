"""Guards that stand alone: whether a call may be made now, and how long to wait before another attempt."""

from cf_workers.resilience.admission import Guard
from cf_workers.resilience.breaker import BreakerPolicy, Transition
from cf_workers.resilience.concurrency import WindowPolicy
from cf_workers.resilience.ending import Ending, answered, failed, never_sent
from cf_workers.resilience.fairness import FairnessPolicy
from cf_workers.resilience.gate import GatePolicy
from cf_workers.resilience.limits import LimitsPolicy
from cf_workers.resilience.permit import (
    Admitted,
    Ask,
    Permit,
    Refused,
    Settled,
    Unasked,
    Waiter,
    explain,
    refusal_error,
)
from cf_workers.resilience.policy import GuardPolicy
from cf_workers.resilience.scope import Scope, credential_digest
from cf_workers.resilience.status import ScopeStatus

__all__ = [
    "Admitted",
    "Ask",
    "BreakerPolicy",
    "Ending",
    "FairnessPolicy",
    "GatePolicy",
    "Guard",
    "GuardPolicy",
    "LimitsPolicy",
    "Permit",
    "Refused",
    "Scope",
    "ScopeStatus",
    "Settled",
    "Transition",
    "Unasked",
    "Waiter",
    "WindowPolicy",
    "answered",
    "credential_digest",
    "explain",
    "failed",
    "never_sent",
    "refusal_error",
]
