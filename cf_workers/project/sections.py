"""What does a project say about caching, performance and features?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cf_workers.project.fields import Fields
from cf_workers.project.keys import Key, flag, positive, read_keys, strings, whole
from cf_workers.project.problems import Report

_CACHE_OFF = "to turn the cache off, set cache.enabled to false"

FEATURE_KEYS: tuple[Key, ...] = (
    flag("async_enabled", "Off: executions run in the caller's own process.", default=True),
    flag("cache_enabled", "Off: no answer is kept, and none is given from the cache.", default=True),
    flag("parallel_workflows_enabled", "Off: the steps of a run go one after the other.", default=True),
)
PERFORMANCE_KEYS: tuple[Key, ...] = (
    flag("async_enabled", "Off: executions run in the caller's own process.", default=True),
    whole("max_concurrent_agents", "Most calls in flight in the whole fleet. Left out: adaptive.", 1),
    positive("timeout_seconds", "Bound on one attempt, in seconds.", default=120),
    whole("max_retries", "Further requests after the first.", 0, default=3),
)
CACHE_KEYS: tuple[Key, ...] = (
    flag("enabled", "Whether answers are kept.", default=True),
    positive("ttl_hours", "How long an answer is given again, in hours.", hint=_CACHE_OFF, default=24),
    positive("max_size_mb", "Bound on all answers together.", hint=_CACHE_OFF, default=100),
    strings("exclude_agents", "Agents whose answers are never kept."),
)


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
    values = read_keys(_section(raw, "features", report), FEATURE_KEYS)
    return Features(**{name: value for name, value in values.items() if value is not None})


def read_performance(raw: Mapping[str, Any], features: Features, report: Report) -> PerformanceSection:
    values = read_keys(_section(raw, "performance", report), PERFORMANCE_KEYS)
    if not features.async_enabled:
        values["async_enabled"] = False
    given = {name: value for name, value in values.items() if value is not None}
    return PerformanceSection(**given, declared=frozenset(given))


def read_cache(raw: Mapping[str, Any], features: Features, report: Report) -> CacheSection:
    keys = _section(raw, "cache", report)
    values = read_keys(keys, CACHE_KEYS)
    excluded = tuple(name for _, name in values["exclude_agents"])
    values["exclude_agents"] = excluded if "exclude_agents" in keys else None
    if not features.cache_enabled:
        values["enabled"] = False
    given = {name: value for name, value in values.items() if value is not None}
    return CacheSection(**given, declared=frozenset(given))


def _section(raw: Mapping[str, Any], name: str, report: Report) -> Fields:
    return Fields(Fields(raw, "", report).object(name) or {}, name, report)
