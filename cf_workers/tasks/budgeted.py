"""Is there money for this call? Reserved before it, settled after it, in every budget that applies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import redis

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentReply, Usage
from cf_workers.agents.estimate import most_nanos
from cf_workers.agents.prices import cost_nanos
from cf_workers.agents.prompt import CacheTtl
from cf_workers.answers import Answer
from cf_workers.budgets import Exhausted, Ledger, Limit, Reservation, dollars
from cf_workers.errors import (
    BudgetError,
    CallTimeoutError,
    CancelledError,
    CfWorkersError,
    ConnectionFailedError,
    StreamCutError,
)
from cf_workers.tasks.answering import Answering, Caller, NotNow, Wake
from cf_workers.tasks.runtime import Provider
from cf_workers.tasks.shortage import exhausted_error, not_asked, refusal, unpriced_error

log = logging.getLogger(__name__)

_MAYBE_PAID = (CallTimeoutError, StreamCutError, CancelledError, ConnectionFailedError)
_NEVER_SENT = ("dns", "connect", "pool", "unsendable")


class Budgeted:
    """Lets calls through for which there is money; where no budget applies, nothing is asked.

    Args:
        wake: told whom to wake when a call has cost less than was reserved for it.
        cache_ttl: for how long the provider is asked to keep prompts, which has its price.
    """

    def __init__(self, inner: Answering, ledger: Ledger, *, wake: Wake, cache_ttl: CacheTtl = "5m") -> None:
        self._inner = inner
        self._ledger = ledger
        self._wake = wake
        self._cache_ttl = cache_ttl
        self._held: set[Reservation] = set()
        self._lock = threading.Lock()

    def ask(self, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Answer one call, if there is money for the most that it may cost.

        Raises:
            NotNow: there is none; the step waits until a budget is raised or calls in flight give some back.
            BudgetError: there is none and the budget says to fail, or the price of the call is not known.
            ExecutionError: there is no usable reply.
        """
        if caller.most_nanos is not None:
            self._check_threshold(call, caller.most_nanos)
        limits = self._ledger.in_force(lambda: scopes_of(call, caller), caller.limits)
        if not limits:
            return self._inner.ask(call, caller, token)
        try:
            chosen, reservation = self._reserve(call, caller, limits)
        except redis.RedisError as error:
            raise not_asked(error) from None
        with self._holding(reservation):
            answer = self._make(chosen, caller, token, reservation)
        return answer if chosen is call else replace(answer, instead_of=call.model)

    def renew(self) -> None:
        """Keep the reservations of this process; for the heartbeat."""
        with self._lock:
            held = list(self._held)
        self._ledger.renew(held)

    def _make(self, call: AgentCall, caller: Caller, token: CancelToken, reservation: Reservation) -> Answer:
        try:
            answer = self._inner.ask(call, caller, token)
        except NotNow as later:
            self._settle(reservation, 0 if later.probe is None else _paid(call, later.probe))
            raise
        except CfWorkersError as error:
            self._settle(reservation, _paid(call, error))
            raise
        except BaseException:  # a defect, or the end of the process: nobody knows what was billed
            self._settle(reservation, None)
            raise
        self._settle(reservation, cost_nanos(answer.reply.model, answer.reply.usage))
        return answer

    def _reserve(
        self, call: AgentCall, caller: Caller, limits: Sequence[Limit]
    ) -> tuple[AgentCall, Reservation]:
        """Reserve for the call as it is, or as its budget would rather have it.

        Raises:
            NotNow: there is no money for any of them.
            BudgetError: see `ask`.
        """
        most = most_nanos(call, cache_ttl=self._cache_ttl)
        if most is None:
            raise unpriced_error(call.model, limits[0])
        candidates = [(most, call)]
        short: Exhausted | None = None
        while candidates:
            wanted, candidate = candidates.pop(0)
            found = self._ledger.reserve(limits, wanted, waiter=caller.waiter)
            if isinstance(found, Reservation):
                return candidate, found
            if short is None and found.for_good and found.limit.on_exhausted == "cheaper_model":
                candidates = self._cheaper(call, most, found.limit)
            short = short or found
        assert short is not None  # noqa: S101
        raise refusal(short, caller, self._ledger)

    def _cheaper(self, call: AgentCall, most: int, limit: Limit) -> list[tuple[int, AgentCall]]:
        """The call with other models, as far as these are cheaper, in the order of the budget's ladder."""
        priced = []
        for model in limit.models:
            other = replace(call, model=model)
            wanted = most_nanos(other, cache_ttl=self._cache_ttl)
            if wanted is not None and wanted < most:
                priced.append((wanted, other))
        return priced

    def _settle(self, reservation: Reservation, nanos: int | None) -> None:
        """A settlement that fails is left to the lease: all that was reserved then counts as spent."""
        try:
            woken = self._ledger.settle(reservation, nanos)
            if woken:
                self._wake(woken)
        except redis.RedisError as error:
            log.warning("budget.not_settled error=%s", type(error).__name__)

    def _check_threshold(self, call: AgentCall, threshold: int) -> None:
        """Refuse a call whose model was chosen and which may cost too much, now that all of it is known.

        Raises:
            BudgetError: it may, or nobody knows.
        """
        most = most_nanos(call, cache_ttl=self._cache_ttl)
        if most is None or most > threshold:
            cost = "an unknown amount" if most is None else f"up to {dollars(most)}"
            raise BudgetError(
                f"the call may cost {cost}; the threshold for chosen models is {dollars(threshold)}",
                {"hint": "name a model, lower max_tokens, or raise models.max_cost_usd"},
            )

    @contextmanager
    def _holding(self, reservation: Reservation) -> Iterator[None]:
        with self._lock:
            self._held.add(reservation)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(reservation)


class Capped:
    """A provider for one execution in this process, which may cost so much and no more.

    Args:
        limit: the execution's own budget; nobody else knows of it.
    """

    def __init__(self, inner: Provider, limit: Limit) -> None:
        self._inner = inner
        self._limit = limit
        self._spent = 0

    def ask(
        self,
        call: AgentCall,
        token: CancelToken | None = None,
        *,
        began: Callable[[], object] | None = None,
    ) -> AgentReply:
        """Answer one call, if the most that it may cost is left.

        Raises:
            BudgetError: it is not, or the price is not known.
            ExecutionError: there is no usable reply.
        """
        most = most_nanos(call)
        if most is None:
            raise unpriced_error(call.model, self._limit)
        left = self._limit.nanos - self._spent
        if most > left:
            raise exhausted_error(Exhausted(self._limit, most, left, True, ""))
        try:
            reply = self._inner.ask(call, token, began=began)
        except CfWorkersError as error:
            self._spend(_paid(call, error), most)
            raise
        self._spend(cost_nanos(reply.model, reply.usage), most)
        return reply

    def warm(self) -> None:
        """Load and connect what the first call would otherwise wait for."""
        self._inner.warm()

    def close(self) -> None:
        """Let go of connections."""
        self._inner.close()

    def _spend(self, nanos: int | None, most: int) -> None:
        self._spent += most if nanos is None else nanos


def scopes_of(call: AgentCall, caller: Caller) -> list[str]:
    """All that a budget for this call can be for."""
    scopes = ["namespace", "day", f"agent:{call.agent.name}", f"run:{caller.run}"]
    return scopes if caller.alone else [*scopes, f"workflow:{caller.workflow}"]


def _paid(call: AgentCall, error: CfWorkersError) -> int | None:
    """What a failed call cost; `None` where it may have been billed and nobody knows."""
    if isinstance(error, _MAYBE_PAID):
        return 0 if error.details.get("kind") in _NEVER_SENT else None
    usage = error.details.get("usage")
    return cost_nanos(call.model, Usage.model_validate(usage)) if usage else 0


Beat = Callable[[], None]


def renew_all(*renewals: Beat) -> Beat:
    """One renewal for the heartbeat out of several; one that fails does not keep the others from theirs."""

    def renew() -> None:
        for each in renewals:
            try:
                each()
            except redis.RedisError as error:
                log.warning("renewal.failed error=%s", type(error).__name__)

    return renew
