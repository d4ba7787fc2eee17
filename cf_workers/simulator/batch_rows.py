"""How does each row of a message batch end?"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from cf_workers.simulator.ask import Ask, checked
from cf_workers.simulator.batches import Batch, Row
from cf_workers.simulator.directives import Directive, directive_in
from cf_workers.simulator.faults import BATCH_ROW, Fault
from cf_workers.simulator.journal import RowRecord
from cf_workers.simulator.messages import MessagesEndpoint
from cf_workers.simulator.problem import ApiProblem, invalid
from cf_workers.simulator.prompt_cache import blocks_of
from cf_workers.simulator.replies import SHAPES, compose
from cf_workers.simulator.state import SimulatorState
from cf_workers.wire import canonical_json

ROWS_AT_A_TIME = 200
VERSION = "2026-10-21"


class RowProcessor:
    """Makes the result lines of batches that have ended."""

    def __init__(self, state: SimulatorState, messages: MessagesEndpoint) -> None:
        self._state = state
        self._messages = messages

    async def finish(self, batch: Batch) -> None:
        """Give an ended batch its results, once, in an order of their own."""
        if batch.results is not None or batch.status(self._state.clock.now()) != "ended":
            return
        reached = batch.processed()
        lines, records = [], []
        for number, row in enumerate(batch.rows):
            result = self._result(row, batch.credential) if number < reached else {"type": "canceled"}
            lines.append({"custom_id": row.custom_id, "result": result})
            records.append(_record(batch, row, result))
            if number % ROWS_AT_A_TIME == ROWS_AT_A_TIME - 1:
                await asyncio.sleep(0)
        random.Random(f"{self._state.config.seed}:{batch.id}").shuffle(lines)  # noqa: S311 - a repeatable order
        if batch.results is None:
            batch.results = lines
            self._state.journal.count_rows(reached, records)

    def _result(self, row: Row, credential: str) -> dict[str, Any]:
        try:
            return self._answered(Ask(row.params), credential)
        except ApiProblem as problem:
            error = problem.body(self._state.new_id("req"))
            return {"type": "errored", "error": error}

    def _answered(self, ask: Ask, credential: str) -> dict[str, Any]:
        state = self._state
        for field in ("stream", "speed"):
            if ask.body.get(field):
                raise invalid(f"{field}: not supported in a batch")
        model = checked(ask, state.models, VERSION, beta=False)
        if ask.max_tokens == 0:
            raise invalid("max_tokens: Input should be greater than 0 in a batch")
        directive = directive_in(ask.user_text) if state.config.directives else Directive()
        fault = self._messages.fault_for(ask, directive, BATCH_ROW, canonical_json(ask.body))
        if fault and fault.kind in ("expired", "canceled"):
            return {"type": fault.kind}
        if fault and fault.kind not in SHAPES:
            raise ApiProblem.of(fault)
        plan = state.prompt_cache.plan(f"{credential}:{ask.model}", model.min_cache, blocks_of(ask.body))
        state.prompt_cache.begin(plan)
        reply = compose(ask, directive.tokens or state.config.reply_tokens, _shape(fault))
        message = reply.message(state.new_id("msg"), ask.model, plan.usage, tier="batch")
        return {"type": "succeeded", "message": message}


def _record(batch: Batch, row: Row, result: dict[str, Any]) -> RowRecord:
    ask = Ask(row.params)
    usage = result["message"]["usage"] if result["type"] == "succeeded" else {}
    return RowRecord(
        batch.id,
        row.custom_id,
        result["type"],
        model=str(row.params.get("model", "")),
        agent=ask.agent,
        body_sha256=ask.digest,
        text=ask.user_text,
        usage=usage,
    )


def _shape(fault: Fault | None) -> str | None:
    return fault.kind if fault else None
