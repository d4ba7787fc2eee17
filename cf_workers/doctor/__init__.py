"""What is wrong with this place, its server and its fleet, and what is to be done about it? For people."""

from __future__ import annotations

from cf_workers.doctor.findings import ADVICE, OK, PROBLEM, Finding
from cf_workers.doctor.fleet import fleet_findings
from cf_workers.doctor.place import place_findings, project_findings
from cf_workers.doctor.server import ServerFacts, read_server, server_findings

__all__ = [
    "ADVICE",
    "OK",
    "PROBLEM",
    "Finding",
    "ServerFacts",
    "fleet_findings",
    "place_findings",
    "project_findings",
    "read_server",
    "server_findings",
]
