"""What does a project say about caching, performance and features?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from cf_workers.project.fields import Fields
from cf_workers.project.problems import Report


@dataclass(frozen=True, slots=True)
class Features:
    """Switches of the whole project; a switch that is off wins over the sections below."""

    async_enabled: bool = True
    cache_enabled: bool = True
    parallel_workflows_enabled: bool = True


@dataclass(frozen=True, slots=True)
class PerformanceSection:
    """How executions run, with the features applied.

    Args:
        max_concurrent_agents: cap for the whole fleet; `None`: no cap.
        timeout_seconds: bound on one attempt, in seconds.
        max_retries: further requests after the first.
        declared: the keys that the project file itself decides.
    """

    async_enabled: bool = True
    max_concurrent_agents: int | None = None
    timeout_seconds: float = 120.0
    max_retries: int = 3
    declared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class CacheSection:
    """How answers are kept, with the features applied.

    Args:
        exclude_agents: agents whose answers are never kept.
        declared: the keys that the project file itself decides.
    """

    enabled: bool = True
    ttl_hours: float = 24.0
    max_size_mb: float = 100.0
    exclude_agents: tuple[str, ...] = ()
    declared: frozenset[str] = frozenset()


def read_features(raw: Mapping[str, Any], report: Report) -> Features:
    section = Fields(raw, "", report).object("features") or {}
    keys = Fields(section, "features", report)
    values = {key.name: keys.flag(key.name) for key in fields(Features)}
    return Features(**{name: value for name, value in values.items() if value is not None})


def read_performance(raw: Mapping[str, Any], features: Features, report: Report) -> PerformanceSection:
    section = Fields(raw, "", report).object("performance") or {}
    keys = Fields(section, "performance", report)
    values: dict[str, Any] = {
        "async_enabled": keys.flag("async_enabled"),
        "max_concurrent_agents": keys.whole("max_concurrent_agents", 1),
        "timeout_seconds": keys.positive("timeout_seconds"),
        "max_retries": keys.whole("max_retries", 0),
    }
    if not features.async_enabled:
        values["async_enabled"] = False
    given = {name: value for name, value in values.items() if value is not None}
    return PerformanceSection(**given, declared=frozenset(given))


def read_cache(raw: Mapping[str, Any], features: Features, report: Report) -> CacheSection:
    section = Fields(raw, "", report).object("cache") or {}
    keys = Fields(section, "cache", report)
    off = "to turn the cache off, set cache.enabled to false"
    values: dict[str, Any] = {
        "enabled": keys.flag("enabled"),
        "ttl_hours": keys.positive("ttl_hours", off),
        "max_size_mb": keys.positive("max_size_mb", off),
        "exclude_agents": tuple(name for _, name in keys.strings("exclude_agents"))
        if "exclude_agents" in keys
        else None,
    }
    if not features.cache_enabled:
        values["enabled"] = False
    given = {name: value for name, value in values.items() if value is not None}
    return CacheSection(**given, declared=frozenset(given))
