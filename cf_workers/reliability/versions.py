"""Are these the versions that the repairs were made for?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import version

log = logging.getLogger(__name__)

SUPPORTED: Mapping[str, str] = {"celery": "5.7.", "kombu": "5.7."}


def unsupported(installed: Mapping[str, str]) -> list[str]:
    """The packages whose installed version is not one of those that were tested, as `name version`."""
    return [
        f"{name} {installed[name]}"
        for name, prefix in SUPPORTED.items()
        if not installed[name].startswith(prefix)
    ]


def warn_unsupported() -> None:
    """Say so in the log, once at start-up, if the repairs may not fit what they repair."""
    names = unsupported({name: version(name) for name in SUPPORTED})
    if names:
        log.warning(
            "%s: the reliability repairs were tested with celery 5.7 and kombu 5.7 only, and build on their "
            "internals; install 'celery>=5.7,<5.8' 'kombu>=5.7,<5.8', or run tests/integration/reliability "
            "against these versions first",
            ", ".join(names),
        )
