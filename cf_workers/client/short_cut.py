"""Is the answer to an execution known already? Then no worker need be asked for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import redis
from celery import Celery

from cf_workers.answers import Answer, answer_of, execution_key, succeeded
from cf_workers.application import Context
from cf_workers.cache import Cache, Hit
from cf_workers.errors import ConfigError
from cf_workers.planning import Planned
from cf_workers.workflows.history import History
from cf_workers.workflows.launcher import Launcher
from cf_workers.workflows.plan import RunHeader
from cf_workers.workflows.record import NewRun, RunStore

log = logging.getLogger(__name__)

_PRODUCER = "producer"
"""Who executed the step, where a worker would write its own name."""


class ShortCut:
    """Gives answers from the cache where a worker would, and leaves the same behind: a record and a result.

    Args:
        open_cache: opens the cache when it is first needed.
    """

    def __init__(
        self,
        context: Context,
        open_cache: Callable[[], Cache],
        *,
        app: Celery,
        store: RunStore,
        launcher: Launcher,
        history: History,
    ) -> None:
        self._context = context
        self._open_cache = open_cache
        self._app = app
        self._store = store
        self._launcher = launcher
        self._history = history

    def answer(self, planned: Planned, task: str) -> Answer | None:
        """The known answer to an execution; `None` if a worker has to be asked."""
        short_cut = self._context.settings.cache.short_cut
        key = execution_key(self._context, planned, task) if short_cut else None
        if key is None:
            return None
        try:
            cache = self._open_cache()
        except ConfigError as error:  # the workers say so as well, and refuse to start
            log.warning("cache.unusable error=%s", error.message)
            return None
        found = cache.lookup(key, count_miss=False)  # the worker looks again, and counts
        return answer_of(found, key) if isinstance(found, Hit) else None

    def conclude(self, new: NewRun, answer: Answer) -> bool:
        """End a recorded execution with its answer; false when somebody else has taken it on meanwhile.

        Raises:
            redis.RedisError: the server failed; the reconciler has a worker do what is left.
        """
        header = RunHeader(new.run, 1, new.plan, new.task, message=new.message)
        (step,) = new.plan.steps
        claim = self._store.claim(header, step, _PRODUCER, may_take_over=False)
        if claim.verdict != "run":
            return claim.verdict in {"held", "done", "over"}
        if self._store.commit(claim, succeeded(answer, step, attempts=0)) is None:
            return True
        self._store.finish(new.run, 1)
        self._launcher.forget(header)
        self._tell(new.run, self._history.execution(new.run))
        return True

    def _tell(self, execution: str, document: dict[str, Any]) -> None:
        """Its id is an ordinary Celery result as well."""
        try:
            self._app.backend.store_result(execution, document, "SUCCESS")
        except redis.RedisError as error:
            log.warning("result.not_stored execution=%s error=%s", execution, type(error).__name__)
