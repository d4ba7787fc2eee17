"""Where does each setting come from? And which variables are meant as settings, but are none?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from cf_workers._redis import describe_url
from cf_workers.project import Project
from cf_workers.project.problems import nearest
from cf_workers.settings import PREFIX, Settings, below_environment

ENVIRONMENT, PROJECT, DEFAULT = "environment", "project file", "default"
SECRETS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CACHE_SECRET")
"""Variables of which is told only whether they are set."""

_FALL_BACKS = {
    "redis_url": "REDIS_URL",
    "broker_url": "CELERY_BROKER_URL",
    "cache.endpoint": "ANTHROPIC_BASE_URL",
}
_SET, _NOT_SET = "(set)", "(not set)"
_NESTED = "__"


@dataclass(frozen=True)
class Setting:
    """One setting in force.

    Args:
        name: with its section, as in `worker.concurrency`.
        value: a JSON value; what may hold a password is told without it.
        source: `environment`, `project file` or `default`.
        variable: that decided it, else by which it can be set; `None` where only the project can.
    """

    name: str
    value: Any
    source: str
    variable: str | None


def settings_in_force(
    settings: Settings, project: Project | None, environ: Mapping[str, str] | None = None
) -> list[Setting]:
    """Every setting with its source, in the order of their declaration.

    Args:
        settings: as `load_settings` made them, of the same project and the process's own environment.
    """
    environment = os.environ if environ is None else environ
    given = EnvSettingsSource(Settings)()
    below = below_environment(project, environment)
    found = []
    for path, field, value in _leaves(settings):
        name = ".".join(path)
        source, variable = DEFAULT, variable_of(path)
        if _holds(given, path):
            source, variable = ENVIRONMENT, _deciding(path, environment)
        elif _FALL_BACKS.get(name) and environment.get(_FALL_BACKS[name]):
            source, variable = ENVIRONMENT, _FALL_BACKS[name]
        elif _holds(below, path) and name not in _FALL_BACKS:
            source = PROJECT
        found.append(Setting(name, _shown(field, value), source, variable))
    return [_with_project(setting, project) for setting in found] + _switches(project)


def secrets_set(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of each secret, whether it is set."""
    environment = os.environ if environ is None else environ
    return {name: _SET if environment.get(name, "").strip() else _NOT_SET for name in SECRETS}


def unknown_variables(environ: Mapping[str, str] | None = None) -> list[tuple[str, str | None]]:
    """Variables that begin like ours and that nothing reads, each with the nearest one that is."""
    known = _known_variables()
    environment = os.environ if environ is None else environ
    unknown = (
        name
        for name in sorted(environment)
        if name.upper().startswith(PREFIX) and not _is_known(name.upper(), known)
    )
    return [(name, nearest(name.upper(), sorted(known))) for name in unknown]


def variable_of(path: tuple[str, ...]) -> str:
    """The variable that sets a setting: `CF_WORKERS_WORKER__CONCURRENCY`."""
    return PREFIX + _NESTED.join(path).upper()


def _with_project(setting: Setting, project: Project | None) -> Setting:
    """The cache is off when either says so, since the project is asked whenever a task runs."""
    if (
        setting.name == "cache.enabled"
        and setting.value
        and project is not None
        and not project.cache.enabled
    ):
        return replace(setting, value=False, source=PROJECT)
    return setting


def _switches(project: Project | None) -> list[Setting]:
    """What the project alone decides, whenever work is started or a task runs."""
    if project is None:
        return []
    declared = project.raw.get("features") or {}
    switches = [
        Setting(f"features.{name}", value, PROJECT if declared.get(name) is not None else DEFAULT, None)
        for name, value in asdict(project.features).items()
    ]
    performance = project.performance
    source = PROJECT if "async_enabled" in performance.declared else DEFAULT
    return [*switches, Setting("performance.async_enabled", performance.async_enabled, source, None)]


def _is_known(name: str, known: Mapping[str, bool]) -> bool:
    """Whether it is a setting, or an entry of one that is a mapping."""
    if name in known:
        return True
    return any(is_mapping and name.startswith(variable + _NESTED) for variable, is_mapping in known.items())


def _known_variables() -> dict[str, bool]:
    """Every variable of ours, and whether its setting is a mapping."""
    known: dict[str, bool] = {}
    for path, field, _ in _leaves(Settings.model_construct()):
        known[variable_of(path[:1])] = False
        known[variable_of(path)] = str(field.annotation).startswith("dict")
    return known


def _leaves(model: BaseModel, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], FieldInfo, Any]]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, (*path, name))
        else:
            yield (*path, name), field, value


def _holds(values: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    found: Any = values
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return False
        found = found[name]
    return True


def _deciding(path: tuple[str, ...], environ: Mapping[str, str]) -> str:
    """The variable itself, or that of the whole section."""
    names = {name.upper() for name in environ}
    return variable_of(path) if variable_of(path) in names else variable_of(path[:1])


def _shown(field: FieldInfo, value: Any) -> Any:
    """A value as it may be told: an address without user, password and options."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if not field.repr:
        return describe_url(str(value)) if "://" in str(value) else _SET if value else ""
    return (
        dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else str(value)
    )
