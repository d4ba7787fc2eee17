"""What must be repaired in Celery 5.7 and kombu 5.7 before work that costs money may run on them?

`install(app)` switches everything on; `reliable_configuration(...)` is the settings block that goes with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cf_workers.reliability.cancellation import Reason, Token, draining, surrender, token_for
    from cf_workers.reliability.policy import ReliabilityPolicy, attach
    from cf_workers.reliability.settings import reliable_configuration
    from cf_workers.reliability.slots import spare_slots
    from cf_workers.reliability.wiring import install

_HOME = {
    "Reason": "cancellation",
    "ReliabilityPolicy": "policy",
    "Token": "cancellation",
    "attach": "policy",
    "draining": "cancellation",
    "install": "wiring",
    "reliable_configuration": "settings",
    "spare_slots": "slots",
    "surrender": "cancellation",
    "token_for": "cancellation",
}

__all__ = [
    "Reason",
    "ReliabilityPolicy",
    "Token",
    "attach",
    "draining",
    "install",
    "reliable_configuration",
    "spare_slots",
    "surrender",
    "token_for",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
