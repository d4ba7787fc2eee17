"""What answers in place of the Anthropic API when no money shall be spent?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cf_workers.simulator.config import SimulatorConfig
    from cf_workers.simulator.control import SimulatorControl
    from cf_workers.simulator.faults import Fault, RandomFault, ScriptedFault
    from cf_workers.simulator.journal import RequestRecord, RowRecord, Stats
    from cf_workers.simulator.server import Simulator, serve

__all__ = [
    "Fault",
    "RandomFault",
    "RequestRecord",
    "RowRecord",
    "ScriptedFault",
    "Simulator",
    "SimulatorConfig",
    "SimulatorControl",
    "Stats",
    "serve",
]

_HOMES = {
    "Fault": "faults",
    "RandomFault": "faults",
    "RequestRecord": "journal",
    "RowRecord": "journal",
    "ScriptedFault": "faults",
    "Simulator": "server",
    "SimulatorConfig": "config",
    "SimulatorControl": "control",
    "Stats": "journal",
    "serve": "server",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: the server part is heavy, its control client is not."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
