"""Which processes does a deployment consist of? `up` starts these, and the Procfile lists the same."""

from __future__ import annotations

PROCESSES = {
    "worker": "celery -A cf_workers worker --loglevel=INFO",
    "beat": "celery -A cf_workers beat --loglevel=INFO",
    "flower": "celery -A cf_workers flower",
}
"""Name and command, in the order in which they are started."""


def procfile() -> str:
    """The text of the Procfile."""
    return "".join(f"{name}: {command}\n" for name, command in PROCESSES.items())
