"""Can this call wait for a message batch, at half the price? Then its step is parked until that has ended."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from cf_workers.agents.batch_api import row_failure
from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentReply
from cf_workers.agents.prices import cost_nanos
from cf_workers.agents.prompt import build_request
from cf_workers.agents.reply import reply_of_row, usage_of
from cf_workers.answers import Answer, answer_of, keep, key_of
from cf_workers.batches import BatchPolicy, PackTable, Row, RowTable, Standing, Wish, key_of_mark
from cf_workers.cache import Cache, Hit
from cf_workers.errors import CfWorkersError
from cf_workers.tasks.answering import Answering, BatchTerms, Caller, NotNow
from cf_workers.tasks.batch_money import BatchMoney
from cf_workers.tasks.outage import Outlast
from cf_workers.wire import INTERACTIVE, canonical_json

_BATCH_TIER = "batch"


class Batched:
    """Lets calls wait for a batch; equal calls that may share an answer share a row of it.

    Args:
        money: what is put aside while a call waits.
        namespace: whose answers are shared.
    """

    def __init__(
        self,
        inner: Answering,
        rows: RowTable,
        packs: PackTable,
        cache: Cache,
        money: BatchMoney,
        *,
        namespace: str,
        outlast: Outlast | None = None,
        policy: BatchPolicy | None = None,
    ) -> None:
        self._inner = inner
        self._rows = rows
        self._packs = packs
        self._cache = cache
        self._money = money
        self._namespace = namespace
        self._outlast = outlast or Outlast()
        self._policy = policy or BatchPolicy()

    def ask(self, call: AgentCall, caller: Caller, token: CancelToken) -> Answer:
        """Answer one call, from its batch if it is in one.

        Raises:
            NotNow: it waits for a batch, or may not be made now.
            ExecutionError: there is no usable reply.
        """
        terms = caller.batch
        if terms is None:
            return self._inner.ask(call, caller, token)
        key = key_of(call, self._namespace) if caller.cacheable and self._cache.policy.enabled else None
        wish = _wish(call, terms, key)
        # its own row first: what came in a batch has been paid, and somebody's step must say so
        standing = self._outlast("join", lambda: self._rows.join(wish, start=False))
        if (row := standing.row) is not None and row.state == "landed":
            return self._taken(standing, row, terms, call=call, caller=caller, key=key)
        if key is not None and (hit := self._hit(key)):
            self._money.settle([terms.mark], 0)
            return hit
        if row is None and terms.start and not standing.alone:
            row = self._join(wish, call, caller)
        if row is None or row.state == "returned" or self._leaves(row, terms):
            self._money.settle([terms.mark], 0)
            sent = row is None and not standing.alone
            answer, row = self._by_itself(call, caller, terms, token, wish if sent else None)
            if answer is not None:
                return answer
        assert row is not None  # noqa: S101
        raise NotNow(self._why(row), self._look_in(terms), waits=partial(self._waits, terms.mark))

    def _by_itself(
        self, call: AgentCall, caller: Caller, terms: BatchTerms, token: CancelToken, wish: Wish | None
    ) -> tuple[Answer | None, Row | None]:
        """The answer to a call by itself; or the row it waits in, if its budget would rather have that.

        Args:
            wish: for a row; `None` where it may not go into one.
        """
        try:
            return self._inner.ask(call, _by_itself(caller, terms), token), None
        except NotNow as refusal:
            if wish is None or not refusal.batch_instead:
                raise
            row = self._join(wish, call, caller)
            if row is None:
                raise
            return None, row

    def _join(self, wish: Wish, call: AgentCall, caller: Caller) -> Row | None:
        """Put the money aside, and let the call wait for a batch.

        Raises:
            NotNow: there is too little money for that as well.
            BudgetError: see `BatchMoney.reserve`.
        """
        self._money.reserve(call, caller, wish.mark)
        sized = replace(wish, size=_size(call))
        return self._outlast("join", lambda: self._rows.join(sized)).row

    def _waits(self, mark: str) -> bool:
        return self._outlast("waits", lambda: self._rows.waits(mark))

    def _leaves(self, row: Row, terms: BatchTerms) -> bool:
        """Whether a step cannot wait any longer, and its row is not on its way on its behalf.

        A row that is gets a last chance: its batch is ended early, see `Courier`.
        """
        if terms.rescue_at is None or terms.rescue_at > time.time():
            return False
        on_its_behalf = row.rescue_at is not None and row.rescue_at <= terms.rescue_at
        if row.state == "packed" and on_its_behalf:
            return False
        return self._outlast("leave", lambda: self._rows.leave(row, terms.mark))

    def _look_in(self, terms: BatchTerms) -> float:
        until = self._policy.relook_seconds
        if terms.rescue_at is not None and terms.rescue_at > time.time():
            return min(until, terms.rescue_at - time.time())
        return until

    def _why(self, row: Row) -> str:
        pack = self._packs.get(row.pack) if row.state == "packed" and row.pack else None
        return f"in batch {pack.batch}" if pack is not None and pack.batch else "waiting for a message batch"

    def _taken(
        self,
        standing: Standing,
        row: Row,
        terms: BatchTerms,
        *,
        call: AgentCall,
        caller: Caller,
        key: str | None,
    ) -> Answer:
        """The answer that came in a batch; who shares it with the step that pays has it for nothing."""
        outcome, mark = row.outcome or {}, [terms.mark]
        if outcome.get("kind") != "succeeded":
            self._money.settle(mark, 0)
            raise row_failure(outcome.get("error") or {}, _secrets(call))
        usage = usage_of(outcome["message"])
        cost = cost_nanos(str(outcome["message"].get("model") or call.model), usage, batch=True)
        self._money.settle(mark, cost if standing.pays else 0)
        reply = _reply(outcome["message"], call, pays=standing.pays)
        landed_at = row.landed_at or row.since
        answer = Answer(reply, landed_at - row.since, key=key, batch=outcome["batch"])
        if not standing.pays:
            age = max(0.0, time.time() - landed_at)
            return replace(answer, seconds=0.0, cache_age_seconds=age, saved_nanos=cost)
        if key is None:
            return answer
        self._cache.count_miss(key)
        kept = keep(self._cache, key, call, reply, workflow=caller.workflow)
        return answer if kept else replace(answer, key=None)

    def _hit(self, key: str) -> Answer | None:
        found = self._cache.lookup(key, count_miss=False)
        return answer_of(found, key) if isinstance(found, Hit) else None


def _wish(call: AgentCall, terms: BatchTerms, key: str | None) -> Wish:
    """What the step wants asked; how large it is counts only once a row is made of it, see `_size`."""
    return Wish(
        mark=terms.mark,
        key=key or key_of_mark(terms.mark),
        model=call.model,
        prefix=call.agent.digest,
        rescue_at=terms.rescue_at,
    )


def _size(call: AgentCall) -> int:
    return len(canonical_json(build_request(call)).encode())


def _by_itself(caller: Caller, terms: BatchTerms) -> Caller:
    """Who has run out of time goes before those who have not."""
    late = terms.rescue_at is not None and terms.rescue_at <= time.time()
    return replace(caller, batch=None, lane=INTERACTIVE if late else caller.lane)


def _reply(message: object, call: AgentCall, *, pays: bool) -> AgentReply:
    try:
        reply = reply_of_row(message, call)
    except CfWorkersError as error:
        details = {name: value for name, value in error.details.items() if pays or name not in {"usage"}}
        raise type(error)(error.message, details) from None
    if reply.usage.service_tier is not None:
        return reply
    return replace(reply, usage=reply.usage.model_copy(update={"service_tier": _BATCH_TIER}))


def _secrets(call: AgentCall) -> list[str]:
    return [call.task, call.agent.text, call.agent.contract or "", *(one.output for one in call.outputs)]
