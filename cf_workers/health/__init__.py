"""Can work be done here and now? For machines that ask: readiness with reasons, and probes over HTTP."""

from cf_workers.health.http import ProbeServer
from cf_workers.health.readiness import Check, Examiner, HealthPolicy, Readiness

__all__ = ["Check", "Examiner", "HealthPolicy", "ProbeServer", "Readiness"]
