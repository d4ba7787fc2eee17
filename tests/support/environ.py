"""Which of the developer's own settings must no test see?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PRIVATE_PREFIXES = ("ANTHROPIC_", "CF_WORKERS_", "CLAUDE_", "CELERY_", "FLOWER_", "OTEL_")
PRIVATE_NAMES = ("REDIS_URL",)
FOR_TESTS = "CF_WORKERS_TEST_"
"""Variables that tell the tests themselves something."""


def is_private(name: str) -> bool:
    """Whether a variable could carry a key, a server or a setting of the developer's own."""
    private = name.startswith(PRIVATE_PREFIXES) or name in PRIVATE_NAMES
    return private and not name.startswith(FOR_TESTS)


def forget_private_settings() -> None:
    """Take them out of this process's environment."""
    for name in [name for name in os.environ if is_private(name)]:
        del os.environ[name]


def clean_environ(home: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a test's process: nothing private, a home of its own, the package importable."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not (is_private(name) or name.startswith(FOR_TESTS))
    }
    own = {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    return inherited | own | dict(extra or {})
