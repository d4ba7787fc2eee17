"""With which project and server does a program work, who listens there, and what if nobody answers?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from cf_workers._redis import Keys, connect, describe_url
from cf_workers.answers import open_cache
from cf_workers.application import Context, open_context
from cf_workers.cache import Cache
from cf_workers.errors import NoWorkerError, ServerUnreachableError
from cf_workers.project import Project
from cf_workers.reliability import install
from cf_workers.reliability.connection import BrokerRefusedError
from cf_workers.settings import Settings
from cf_workers.wire import INTERACTIVE
from cf_workers.workflows.accounts import Accounts
from cf_workers.workflows.dead_letters import DeadLetters
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.history import History
from cf_workers.workflows.joins import Joins
from cf_workers.workflows.launcher import Launcher
from cf_workers.workflows.liveness import live_workers
from cf_workers.workflows.record import RunStore


class Connection:
    """Opens project, settings, server and broker, each when it is first needed; see `Client`."""

    def __init__(
        self,
        config: str | Path | None = None,
        redis_url: str | None = None,
        *,
        announce: Callable[[str], object] | None = None,
    ) -> None:
        self._open = partial(open_context, config=config, redis_url=redis_url, announce=announce)

    @cached_property
    def context(self) -> Context:
        """Project, settings and server of this client, opened when first needed.

        Raises:
            ConfigError: a setting cannot be used, or the named project is not there.
            ServerUnreachableError: the embedded server does not start.
        """
        return self._open()

    @cached_property
    def local(self) -> Context:
        """Project and settings, which need no server; without a configured one it names none.

        Raises:
            ConfigError: a setting cannot be used, or the named project is not there.
        """
        return self.__dict__.get("context") or self._open(need_server=False)

    @property
    def project(self) -> Project:
        """The project as it is now; needs no server.

        Raises:
            ConfigError: there is none, or its file cannot be read.
        """
        return self.local.project

    @property
    def project_path(self) -> Path | None:
        """The project file; `None` where there is none. Needs no server."""
        return self.local.project_path

    @property
    def settings(self) -> Settings:
        """The settings in force; needs no server."""
        return self.local.settings

    @cached_property
    def cache(self) -> Cache:
        """The response cache of the fleet.

        Raises:
            ConfigError: in production no secret is set.
        """
        return open_cache(self.context)

    @cached_property
    def accounts(self) -> Accounts:
        """What was executed and spent, day by day, and what executions took."""
        return Accounts(self._redis, self._keys)

    @cached_property
    def history(self) -> History:
        """The reading side: documents, listings, events."""
        return History(self._redis, self._keys, self._definitions)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """Steps that were given up because every worker that took them on died."""
        return DeadLetters(self._redis, self._keys, self.context.settings.dead_letter_policy)

    def ping(self) -> None:
        """Make sure that the server answers.

        Raises:
            ServerUnreachableError: it does not.
        """
        with self.reaching():
            self._redis.ping()

    def workers(self, queue: str | None = None) -> list[dict[str, Any]]:
        """What each living worker says of itself; only those that listen on `queue`, if given."""
        with self.reaching():
            found = live_workers(self._redis, self._keys, self.context.settings.liveness_policy)
        return [worker for worker in found if queue is None or queue in worker["queues"]]

    def require_worker(self, queue: str = INTERACTIVE) -> None:
        """Make sure that somebody will do the work.

        Raises:
            NoWorkerError: nobody listens on the queue.
        """
        if not self.workers(queue):
            raise NoWorkerError(
                f"no worker listens on queue {queue!r} at {describe_url(self.context.redis_url)}",
                {"hint": "start one with `celery -A cf_workers worker`", "queue": queue},
            )

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Turn what Redis and the broker raise into an error that names the server, without its password.

        Raises:
            ServerUnreachableError: the server does not answer.
        """
        try:
            yield
        except redis.AuthenticationError:
            raise ServerUnreachableError(
                f"{describe_url(self.context.redis_url)} does not accept the user or password",
                {"hint": "correct the ones in CF_WORKERS_REDIS_URL: redis://USER:PASSWORD@HOST:PORT/0"},
            ) from None
        except BrokerRefusedError:
            raise ServerUnreachableError(
                f"{describe_url(self.context.broker_url)} does not accept the user, password or virtual host",
                {"hint": "correct the ones in CF_WORKERS_BROKER_URL: amqp://USER:PASSWORD@HOST:PORT/VHOST"},
            ) from None
        except (redis.ConnectionError, redis.TimeoutError, OperationalError) as error:
            broker = isinstance(error, OperationalError) and self.context.broker_url != self.context.redis_url
            url = self.context.broker_url if broker else self.context.redis_url
            name = "CF_WORKERS_BROKER_URL" if broker else "CF_WORKERS_REDIS_URL"
            raise ServerUnreachableError(
                f"no answer from {describe_url(url)}",
                {
                    "hint": f"is it running? its address is {name}",
                    "cause": type(error).__name__,
                },
            ) from None

    def close(self) -> None:
        """Let go of connections and of the embedded server."""
        if "_app" in self.__dict__:
            self._app.close()
        if "_redis" in self.__dict__:
            self._redis.close()
        if "context" in self.__dict__:
            self.context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _redis(self) -> Any:
        return connect(self.context.redis_url)

    @cached_property
    def _keys(self) -> Keys:
        return Keys(self.context.settings.namespace)

    @cached_property
    def _definitions(self) -> Definitions:
        return Definitions(self._redis, self._keys)

    @cached_property
    def _store(self) -> RunStore:
        return RunStore(self._redis, self._keys, self._definitions, self.context.settings.record_policy)

    @cached_property
    def _app(self) -> Celery:
        app = Celery("cf_workers", set_as_current=False)
        app.conf.update(self.context.celery)
        install(app)
        return app

    @cached_property
    def _launcher(self) -> Launcher:
        return Launcher(self._app, self._store, self._definitions, Joins(self._app))
