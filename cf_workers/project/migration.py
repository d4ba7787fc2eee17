"""What does an old project file lack?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cf_workers.errors import ConfigError
from cf_workers.project.fields import kind
from cf_workers.project.sections import CacheSection, PerformanceSection


def migrate(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Add the sections that are missing, with their defaults; the second time nothing changes.

    Returns:
        The new document, all else as it was and in its old order, and one sentence for each change.

    Raises:
        ConfigError: it is not a project at all.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"a project must be a JSON object, not {kind(raw)}")
    missing = {name: section for name, section in _defaults().items() if name not in raw}
    changes = [f"added the section {name!r} with its defaults" for name in missing]
    return {**raw, **missing}, changes


def _defaults() -> dict[str, dict[str, Any]]:
    """No cap on concurrency is spelt by leaving `max_concurrent_agents` out."""
    cache, performance = CacheSection(), PerformanceSection()
    return {
        "cache": {
            "enabled": cache.enabled,
            "ttl_hours": _plain(cache.ttl_hours),
            "max_size_mb": _plain(cache.max_size_mb),
            "exclude_agents": list(cache.exclude_agents),
        },
        "performance": {
            "async_enabled": performance.async_enabled,
            "timeout_seconds": _plain(performance.timeout_seconds),
            "max_retries": performance.max_retries,
        },
    }


def _plain(number: float) -> float | int:
    """24 rather than 24.0, as people write it."""
    return int(number) if number.is_integer() else number
