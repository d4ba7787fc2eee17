"""Distributed task-queue workers for Claude agents.

    from cf_workers import Client

Importing this package needs no key, no server and no project, and loads neither Celery nor the provider's
SDK; what is named below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cf_workers.celery import app
    from cf_workers.client import Client
    from cf_workers.orchestrator import AgentOrchestrator, AsyncAgentOrchestrator

__version__ = "0.1.0"
__all__ = ["AgentOrchestrator", "AsyncAgentOrchestrator", "Client", "__version__", "app"]

_HOMES = {
    "AgentOrchestrator": "cf_workers.orchestrator",
    "AsyncAgentOrchestrator": "cf_workers.orchestrator",
    "Client": "cf_workers.client",
    "app": "cf_workers.celery",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
