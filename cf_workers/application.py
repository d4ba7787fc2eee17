"""Which project, settings, server and Celery configuration does this process work with?"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from cf_workers.embedded import (
    EmbeddedServer,
    existing_state_dir,
    join_or_start,
    running_url,
    state_dir_for,
)
from cf_workers.errors import ConfigError
from cf_workers.project import Project, current_project, find_project
from cf_workers.reliability import reliable_configuration
from cf_workers.settings import DEFAULT_NAMESPACE, Settings, load_settings
from cf_workers.wire import (
    BATCH,
    CONTROL,
    EXECUTE_STEP,
    FINISH_RUN,
    INTERACTIVE,
    POLL_BATCHES,
    QUEUES,
    RUN_AGENT,
    WARM_CACHE,
)

Announce = Callable[[str], object]


@dataclass(frozen=True)
class Context:
    """What a process works with, decided once.

    Args:
        project_path: the project file; `None` where there is none, which is enough for a worker of runs that
            bring their definitions along.
        redis_url: the server of state, results and cache; holds a password perhaps.
        embedded: the server that was joined or started because no URL is configured.
    """

    settings: Settings
    project_path: Path | None
    redis_url: str
    embedded: EmbeddedServer | None = None

    @property
    def broker_url(self) -> str:
        return self.settings.broker_url or self.redis_url

    @property
    def project(self) -> Project:
        """The project as it is now; edits are seen.

        Raises:
            ConfigError: there is no project, or its file cannot be read.
        """
        if self.project_path is None:
            find_project(None, Path.cwd(), Path.home())
            raise ConfigError(
                "there is a project now that was not there at the start", {"hint": "start again"}
            )
        return current_project(self.project_path)

    @cached_property
    def celery(self) -> dict[str, Any]:
        """The configuration of a Celery application that belongs to this context."""
        settings = self.settings
        retry = {
            "max_retries": settings.agents.max_retries,
            "retry_backoff": settings.retry.backoff_seconds,
            "retry_backoff_max": settings.retry.backoff_max_seconds,
            "retry_jitter": settings.retry.jitter,
        }
        configuration = reliable_configuration(
            redis_url=self.redis_url,
            broker_url=self.broker_url,
            concurrency=settings.worker.concurrency,
            queues=QUEUES,
            default_queue=INTERACTIVE,
            visibility_timeout=settings.worker.visibility_timeout_seconds,
            chord_expires=settings.runs.active_seconds,
        )
        if settings.namespace != DEFAULT_NAMESPACE and self.broker_url.startswith(("redis://", "rediss://")):
            # namespaces that share a server must not take each other's messages
            configuration["broker_transport_options"]["global_keyprefix"] = f"{settings.namespace}:"
        return {
            **configuration,
            # CELERY_BROKER_URL overrides `broker_url` inside Celery, and not these two
            "broker_read_url": self.broker_url,
            "broker_write_url": self.broker_url,
            "result_expires": int(settings.runs.retention_seconds),
            "beat_scheduler": "cf_workers.beat:Scheduler",
            "beat_max_loop_interval": 5,
            "redbeat_key_prefix": f"{settings.namespace}:redbeat",
            "redbeat_lock_timeout": 30,  # its own default leaves a fleet without a beat for 25 minutes
            "task_annotations": {RUN_AGENT: retry, EXECUTE_STEP: retry},
            "task_routes": {
                RUN_AGENT: {"queue": INTERACTIVE},
                FINISH_RUN: {"queue": CONTROL},
                POLL_BATCHES: {"queue": CONTROL},
                WARM_CACHE: {"queue": BATCH},
            },
        }

    def close(self) -> None:
        """Let go of the embedded server, if this process joined one."""
        if self.embedded is not None:
            self.embedded.close()


def open_context(
    *,
    config: str | Path | None = None,
    redis_url: str | None = None,
    announce: Announce | None = None,
    need_server: bool = True,
) -> Context:
    """Find the project, read the settings, and join or start the embedded server if no URL is configured.

    Args:
        config: the project file; if not given, CF_WORKERS_CONFIG, the working directory's or the user's.
        announce: told once, in a sentence for a person, when a server was started.
        need_server: false leaves the embedded server alone; without a URL `redis_url` is then empty.

    Raises:
        ConfigError: a setting cannot be used, or the named project file is not there.
        ServerUnreachableError: the embedded server does not start.
    """
    path = _project_path(config)
    project = _readable(path)
    settings = load_settings(project, redis_url=redis_url)
    if settings.redis_url or not need_server:
        return Context(settings, path, settings.redis_url or "")
    state = state_dir_for(path or Path.cwd(), os.environ)
    embedded = join_or_start(state, announce or _to_stderr)
    atexit.register(embedded.close)
    return Context(settings, path, embedded.url, embedded)


def with_running_server(context: Context) -> Context:
    """The same context, with the embedded server if one is needed and it runs; none is started."""
    if context.redis_url:
        return context
    state = existing_state_dir(context.project_path or Path.cwd(), os.environ)
    found = None if state is None else running_url(state)
    return replace(context, redis_url=found or "")


@lru_cache(maxsize=1)
def default_context() -> Context:
    """The context of Celery's own commands and of the tasks, opened when first needed."""
    return open_context()


def __getattr__(name: str) -> Any:
    """`configuration`, which Celery asks for when the first setting is needed."""
    if name == "configuration":
        return default_context().celery
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _project_path(config: str | Path | None) -> Path | None:
    explicit = config or os.environ.get("CF_WORKERS_CONFIG") or None
    try:
        return find_project(explicit, Path.cwd(), Path.home())
    except ConfigError:
        if explicit:
            raise
        return None


def _readable(path: Path | None) -> Project | None:
    """The project's settings do not hide its problems: whoever uses the project is told of those."""
    try:
        return current_project(path) if path is not None else None
    except ConfigError:
        return None


def _to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201
