"""Who answers a call? Layers around the provider, each of which adds one thing.

    batched ⟵ cached ⟵ warmed ⟵ budgeted ⟵ guarded ⟵ metered ⟵ direct

Batched is outermost: what goes out in a message batch is neither led nor admitted here, since batches have
limits of their own, and what comes back without an answer is asked like any other. Cached comes next: a hit
must not be refused by an open breaker, nor take from a bucket or a budget. Warmed follows: who waits for
another call to write their prompt's prefix holds neither money nor permit. Then budgeted: whom a guard
refuses gives the money back at once, and a call without money takes no permit. Guarded: only what is admitted
may reach the provider. Metered and direct are innermost: only what reaches the provider is counted and timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentReply
from cf_workers.answers import Answer
from cf_workers.budgets import Limit
from cf_workers.errors import CfWorkersError
from cf_workers.wire import INTERACTIVE


@dataclass(frozen=True)
class BatchTerms:
    """On which terms a call may wait for a message batch.

    Args:
        mark: names this try of the step, and no other.
        start: whether it may go into a batch; if not, it waits for one that it is in already, or that a
            budget sends it to.
        rescue_at: Unix time from which on it cannot wait any longer.
    """

    mark: str
    start: bool = True
    rescue_at: float | None = None


@dataclass(frozen=True)
class Caller:
    """For whom a call is made.

    Args:
        waiter: names the step, the same in each of its attempts; who waits is woken by it.
        holder: names this attempt of it, and no other in the fleet.
        lane: the queue it came by.
        tenant: who shares the credential with others.
        workflow: the workflow or agent that was started.
        cacheable: whether an answer may come from the cache, and go there.
        fail_fast: rather an error than to wait for admission.
        run: the run or execution.
        alone: a single execution, of no workflow.
        limits: the budgets that were declared for it when it was started.
        most_nanos: it may cost no more, in billionths of a dollar.
        began: called once when the reply begins, and not if there is none.
        batch: on which terms it may wait for a message batch; `None` is asked at once.
    """

    waiter: str
    holder: str
    lane: str = INTERACTIVE
    tenant: str = "default"
    workflow: str = ""
    cacheable: bool = True
    fail_fast: bool = False
    run: str = ""
    alone: bool = False
    limits: tuple[Limit, ...] = ()
    most_nanos: int | None = None
    began: Callable[[], object] | None = None
    batch: BatchTerms | None = None


Wake = Callable[[Sequence[str]], object]
"""Lets parked steps go on at once, by the names under which they wait."""


class NotNow(Exception):  # noqa: N818 - not an error
    """No call may be made before some time has passed: the step is to be parked, and no attempt is spent.

    Args:
        reason: why, for people.
        retry_in: seconds.
        waits: asked once the step is parked: whether it will be woken earlier; if not, what it waits for
            has happened in between.
        probe: how a call ended that was made to find out if the provider is back; `None` where none was made.
        instead: the error to fail with at once, for callers who would rather fail than wait.
        batch_instead: its budget has too little left for it and would have it wait for a message batch.
        well: nothing is wrong, it is only a matter of order: no reason to give a stale answer.
    """

    def __init__(
        self,
        reason: str,
        retry_in: float,
        *,
        waits: Callable[[], bool] | None = None,
        probe: CfWorkersError | None = None,
        instead: CfWorkersError | None = None,
        well: bool = False,
        batch_instead: bool = False,
    ) -> None:
        super().__init__(reason, retry_in)
        self.reason = reason
        self.retry_in = retry_in
        self.waits = waits
        self.probe = probe
        self.instead = instead
        self.well = well
        self.batch_instead = batch_instead


class Answering(Protocol):
    """Whoever answers calls."""

    def ask(self, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Answer one call.

        Raises:
            NotNow: it may not be made now.
            ExecutionError: there is no usable reply.
        """
        ...


class Model(Protocol):
    """The provider."""

    def ask(
        self,
        call: AgentCall,
        token: CancelToken | None = None,
        *,
        began: Callable[[], object] | None = None,
    ) -> AgentReply:
        """Answer one call, or raise an `ExecutionError`; `began` is called when the reply begins."""
        ...


class Direct:
    """Asks the provider, and takes the time."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def ask(self, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Answer one call; see `Answering`."""
        started = time.monotonic()
        reply = (
            self._model.ask(call, token, began=caller.began) if caller.began else self._model.ask(call, token)
        )
        return Answer(reply, time.monotonic() - started)
