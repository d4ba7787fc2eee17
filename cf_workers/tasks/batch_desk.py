"""Who asked for the rows of a batch, do they still want to know, and what exactly did they ask?

The request of a row is built from its run's record when it is sent: the same as when the step asked.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cf_workers.agents.definition import AgentCall, AgentDefinition
from cf_workers.agents.prices import cost_nanos
from cf_workers.agents.prompt import build_request
from cf_workers.agents.reply import reply_of_row, usage_of
from cf_workers.answers import keep
from cf_workers.batches import BatchPolicy, Row, key_of_mark
from cf_workers.cache import Cache
from cf_workers.errors import CfWorkersError
from cf_workers.tasks.asking import call_of
from cf_workers.tasks.batch_money import BatchMoney
from cf_workers.workflows.outcome import Outcome
from cf_workers.workflows.record import RunStore

log = logging.getLogger(__name__)

Try = tuple[str, str, int]
"""Run, step, and attempt of the run."""


class BatchDesk:
    """The runs' side of the batch lane.

    Args:
        agent: the definition of an agent by its digest.
        money: what is put aside while rows wait.
    """

    def __init__(
        self,
        store: RunStore,
        agent: Callable[[str], AgentDefinition],
        cache: Cache,
        money: BatchMoney,
        *,
        policy: BatchPolicy | None = None,
    ) -> None:
        self._store = store
        self._agent = agent
        self._cache = cache
        self._money = money
        self._policy = policy or BatchPolicy()

    def prepare(self, rows: Sequence[Row], marks: Sequence[Iterable[str]]) -> Mapping[str, Mapping[str, Any]]:
        """The requests of rows by id, without those that nobody wants any more or whose answer is known."""
        calls: dict[str, AgentCall] = {}
        for row, one in zip(rows, self._first_awaited(marks), strict=True):
            if one is not None and not self._is_known(row) and (call := self._call(one)) is not None:
                calls[row.id] = call
        shared = Counter(_prefix(call) for call in calls.values())
        return {row: self._request(call, sharing=shared[_prefix(call)]) for row, call in calls.items()}

    def wanted(self, marks: Sequence[Iterable[str]]) -> list[bool]:
        """For each row, by who waits for it, whether anybody still does."""
        return [one is not None for one in self._first_awaited(marks)]

    def wake(self, marks: Iterable[str]) -> None:
        """Let steps look again now; what was put aside for those that will not come is free again."""
        told = list(marks)
        self._store.unpark([_waiter(mark) for mark in told])
        awaited = self._store.awaited([_try_of(mark) for mark in told])
        self._money.settle([mark for mark, so in zip(told, awaited, strict=True) if not so], 0)

    def tell(self, marks: Iterable[str], what: str) -> None:
        """Note what steps wait for."""
        self._store.explain([_waiter(mark) for mark in marks], what)

    def write_off(self, row: Row, outcome: Mapping[str, Any]) -> None:
        """Book what an answer cost that nobody waits for, and keep it for those who ask the same later."""
        if outcome.get("kind") != "succeeded":
            return
        message = outcome["message"]
        usage = usage_of(message)
        model = str(message.get("model") or row.model)
        cost = cost_nanos(model, usage, batch=True)
        one, call = _try_of(row.source), self._call(_try_of(row.source))
        log.warning("batch.paid_for_nothing run=%s step=%s", one[0], one[1])
        self._money.settle([row.source], cost)
        spent = Outcome(
            "cancelled",
            attempts=1,
            result={"agent": call.agent.name if call else "", "model": model},
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            cost_nanos=cost,
        )
        self._store.book_lost(one[0], spent)
        if row.key != key_of_mark(row.source) and call is not None:
            self._keep(row, one, call, message)

    def _keep(self, row: Row, one: Try, call: AgentCall, message: Mapping[str, Any]) -> None:
        try:
            workflow = self._store.header(one[0], one[2]).plan.workflow
            keep(self._cache, row.key, call, reply_of_row(message, call), workflow=workflow)
        except CfWorkersError as error:
            log.info("batch.not_kept row=%s error=%s", row.id, type(error).__name__)

    def _first_awaited(self, marks: Sequence[Iterable[str]]) -> list[Try | None]:
        """For each row, one of the steps that still wait for it."""
        tries = [[_try_of(mark) for mark in sorted(members)] for members in marks]
        flat = [one for members in tries for one in members]
        awaited = {one for one, so in zip(flat, self._store.awaited(flat), strict=True) if so}
        return [next((one for one in members if one in awaited), None) for members in tries]

    def _is_known(self, row: Row) -> bool:
        """Whether its answer is in the cache by now; the cache may fail, and then it is not."""
        if not self._cache.policy.enabled:
            return False
        try:
            found = self._cache.inspect(row.key)
        except CfWorkersError:
            return False
        return found is not None and not found.stale

    def _call(self, one: Try) -> AgentCall | None:
        run, step_id, attempt = one
        try:
            header = self._store.header(run, attempt)
            step = header.plan.by_id[step_id]
            texts = self._store.outputs(run, step.dependencies) if step.passes else ()
            return call_of(self._agent(step.definition), header, step, texts)
        except CfWorkersError as error:  # the step finds out for itself, and ends
            log.warning("batch.row_unreadable run=%s step=%s error=%s", run, step_id, type(error).__name__)
            return None

    def _request(self, call: AgentCall, *, sharing: int) -> dict[str, Any]:
        """What is sent; the prompt cache is used only where enough rows share the agent's definition.

        The documentation advises an hour for batches, which may take longer than five minutes.
        https://platform.claude.com/docs/en/build-with-claude/batch-processing
        """
        request = build_request(call, cache_ttl="1h")
        if sharing < self._policy.shared_prefix_rows and "system" in request:
            request["system"] = [
                {name: value for name, value in block.items() if name != "cache_control"}
                for block in request["system"]
            ]
        return request


def _prefix(call: AgentCall) -> str:
    return call.agent.digest


def _try_of(mark: str) -> Try:
    run, step, attempt, _ = mark.split("\t")
    return run, step, int(attempt)


def _waiter(mark: str) -> str:
    return "\t".join(mark.split("\t")[:2])
