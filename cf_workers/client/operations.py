"""What does an operator ask and order? The guards of the fleet, and whether work can be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cf_workers._redis import Keys, connect
from cf_workers.application import Context
from cf_workers.errors import InputError
from cf_workers.resilience import Guard, Scope, ScopeStatus, Transition, Unasked
from cf_workers.wire import QUEUES
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.liveness import live_workers

if TYPE_CHECKING:
    from cf_workers.health import Readiness
    from cf_workers.reliability.queues import QueueState
    from cf_workers.workflows.explaining import Explanation

_TIMEOUT_SECONDS = 5.0


class Operations:
    """Looks at the guards of a server and at the readiness of a namespace.

    Args:
        app: makes a Celery application of this context, when a broker has to be asked.
        reaching: turns what a server that does not answer raises into errors of ours.
    """

    def __init__(
        self,
        context: Context,
        *,
        app: Callable[[], Any],
        reaching: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._context = context
        self._app = app
        self._reaching = reaching

    def guards(self) -> list[ScopeStatus]:
        """The guards of every scope used within a day.

        Raises:
            ServerUnreachableError: the server does not answer.
        """
        with self._reaching():
            return [self._guard.status(scope) for scope in self._guard.scopes()]

    def unasked(self) -> Unasked:
        """How many calls went by the guards, since Redis failed.

        Raises:
            ServerUnreachableError: the server does not answer.
        """
        with self._reaching():
            return self._guard.unasked()

    def breaker_changes(self) -> list[Transition]:
        """The latest changes of all breakers, the newest first.

        Raises:
            ServerUnreachableError: the server does not answer.
        """
        with self._reaching():
            return self._guard.changes()

    def reset_breakers(self, named: str | None = None) -> tuple[list[Scope], list[Transition]]:
        """Close breakers: those that were meant, and what has changed.

        Args:
            named: a scope, or the model class of one or more; all of them if not given.

        Raises:
            InputError: there is no such scope.
            ServerUnreachableError: the server does not answer.
        """
        with self._reaching():
            known = self._guard.scopes()
            chosen = [scope for scope in known if named in (None, str(scope), scope.model_class)]
            if named is not None and not chosen:
                raise _unknown(named, known)
            return chosen, [change for scope in chosen for change in self._guard.reset(scope)]

    def readiness(self) -> Readiness:
        """Whether work can be done, with reasons; a server that does not answer is one of them."""
        from cf_workers.health import Examiner

        return Examiner.of(self._context.settings, self._client, self._look).examine()

    def queues(self) -> list[QueueState]:
        """The state of every queue of the broker.

        Raises:
            ServerUnreachableError: the broker does not answer.
        """
        with self._reaching():
            return self._look(QUEUES)

    def explain(self, run: str) -> Explanation:
        """What each step of a run waits for.

        Raises:
            UnknownRunError: there is no such run.
            DefinitionMissingError: its plan is not in the store any more.
            ServerUnreachableError: the server does not answer.
        """
        from cf_workers.workflows.explaining import Fleet, explain

        settings = self._context.settings
        keys = Keys(settings.namespace)
        with self._reaching():
            workers = live_workers(self._client, keys, settings.liveness_policy)
            fleet = Fleet(
                listeners=Counter(queue for worker in workers for queue in worker["queues"]),
                lengths={state.name: state.length for state in self.queues()},
                lease_seconds=settings.worker.lease_seconds,
            )
            return explain(self._client, keys, Definitions(self._client, keys), run, fleet)

    def close(self) -> None:
        """Let go of the connections."""
        if "_client" in self.__dict__:
            self._client.close()

    def _look(self, queues: Sequence[str]) -> list[QueueState]:
        from cf_workers.reliability.queues import look_at_queues

        return look_at_queues(self._app(), queues)

    @cached_property
    def _client(self) -> Any:
        return connect(self._context.redis_url, timeout_seconds=_TIMEOUT_SECONDS)

    @cached_property
    def _guard(self) -> Guard:
        return Guard(self._client, Keys(), self._context.settings.guard_policy)


def _unknown(named: str, known: Sequence[Scope]) -> InputError:
    scopes = ", ".join(str(scope) for scope in known) or "none: no call was made within a day"
    return InputError(f"no breaker has the scope {named!r}", {"hint": f"scopes are {scopes}"})
