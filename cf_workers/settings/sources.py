"""Who sets a setting, and what is said of a value that cannot be used?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from cf_workers.errors import ConfigError
from cf_workers.project import Project
from cf_workers.project.problems import nearest
from cf_workers.settings.settings import PREFIX, Settings


def load_settings(
    project: Project | None = None, environ: Mapping[str, str] | None = None, **flags: Any
) -> Settings:
    """The settings in force.

    Args:
        project: its `performance` section stands between the environment and the defaults.
        environ: where the fall-backs `REDIS_URL` and `CELERY_BROKER_URL` are looked for; the process's own if
            not given.
        flags: what the caller was given; `None` values count as not given.

    Raises:
        ConfigError: values cannot be used; all of them are named.
    """
    below = below_environment(project, os.environ if environ is None else environ)

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=below))

    try:
        return Sourced(**{name: value for name, value in flags.items() if value is not None})
    except (ValidationError, SettingsError) as error:
        raise _unusable(error) from None


def below_environment(project: Project | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """What stands between our own variables and the defaults: the usual variables, and the project file."""
    below: dict[str, Any] = {"cache": {"endpoint": environ.get("ANTHROPIC_BASE_URL", "")}}
    if environ.get("REDIS_URL"):
        below["redis_url"] = environ["REDIS_URL"]
    if environ.get("CELERY_BROKER_URL"):
        below["broker_url"] = environ["CELERY_BROKER_URL"]
    if project is not None:
        section = project.performance
        wanted = section.declared & {"timeout_seconds", "max_retries"}
        below["agents"] = {name: getattr(section, name) for name in wanted}
        if section.max_concurrent_agents is not None:
            below["limits"] = {"max_concurrent_agents": section.max_concurrent_agents}
        # whether it is on at all is asked of the project whenever a task runs: a flip needs no restart
        declared = project.cache.declared - {"enabled"}
        below["cache"] |= {name: getattr(project.cache, name) for name in declared}
    return below


def _unusable(error: ValidationError | SettingsError) -> ConfigError:
    """The error without the values: one of them may be a URL with a password."""
    if isinstance(error, SettingsError):
        return ConfigError(f"a {PREFIX}* variable cannot be read: {error}")
    wrong = [_said(one["loc"], one) for one in error.errors(include_input=False, include_url=False)]
    return ConfigError("; ".join(wrong), {"hint": "correct or unset what is named", "problems": wrong})


def _said(place: tuple[int | str, ...], one: Mapping[str, Any]) -> str:
    """What is wrong with one variable; a mistyped one with what was meant."""
    name = f"{PREFIX}{'__'.join(str(part).upper() for part in place)}"
    if one["type"] != "extra_forbidden":
        return f"{name}: {str(one['msg']).removeprefix('Value error, ')}"
    section = Settings.model_fields[str(place[0])].annotation
    known = list(getattr(section, "model_fields", ()))
    meant = nearest(str(place[-1]), known)
    if meant is None or len(place) != 2:  # noqa: PLR2004 - a section and its field
        return f"{name}: is not a setting"
    return f"{name}: is not a setting; did you mean {PREFIX}{str(place[0]).upper()}__{meant.upper()}?"
