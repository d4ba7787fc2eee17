"""How is one call to the Messages API answered, from the checks to the last byte?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cf_workers.simulator import stream
from cf_workers.simulator.ask import Ask, checked, parsed
from cf_workers.simulator.directives import Directive, directive_in
from cf_workers.simulator.exchange import Exchange
from cf_workers.simulator.faults import MESSAGES, Fault, Traits
from cf_workers.simulator.journal import RequestRecord
from cf_workers.simulator.models import Model
from cf_workers.simulator.problem import ApiProblem
from cf_workers.simulator.prompt_cache import CachePlan, blocks_of
from cf_workers.simulator.replies import SHAPES, compose
from cf_workers.simulator.state import SimulatorState, credential_digest

HTML = b"<html><head><title>Bad Gateway</title></head><body>Bad Gateway (simulated)</body></html>\n"
STREAM_FAULTS = frozenset({"stream_error", "stream_end", "stream_cut"})
SLOW_BODY_SECONDS = 5.0
SLOW_BODY_PIECES = 10


@dataclass(frozen=True)
class Pace:
    """When the bytes of a reply leave: seconds to the first and to the last."""

    first: float
    total: float


@dataclass(frozen=True)
class Answer:
    """A reply ready to be sent."""

    message: dict[str, Any]
    headers: dict[str, str]
    pace: Pace
    plan: CachePlan
    fault: Fault | None


class MessagesEndpoint:
    """`POST /v1/messages`."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state

    async def create(self, exchange: Exchange, record: RequestRecord, key: str) -> None:
        """Answer one call.

        Raises:
            ApiProblem: the call is answered with an error.
        """
        ask = parsed(exchange.body)
        note(record, ask)
        model = checked(
            ask,
            self._state.models,
            exchange.headers.get("anthropic-version", ""),
            beta="anthropic-beta" in exchange.headers,
        )
        directive = directive_in(ask.user_text) if self._state.config.directives else Directive()
        fault = self.fault_for(ask, directive, MESSAGES, exchange.body)
        record.fault = fault.kind if fault else None
        if fault and fault.after:
            await asyncio.sleep(fault.after)
        if fault and fault.kind not in SHAPES | STREAM_FAULTS | {"slow_body"}:
            await strike(exchange, record, fault)
            return
        await self._state.until_let_go()
        answer = self._prepare(ask, model, directive, fault, credential_digest(key))
        await (self._tell if ask.stream else self._hand_over)(exchange, record, answer)

    def fault_for(self, ask: Ask, directive: Directive, path: str, body: bytes | str) -> Fault | None:
        """The fault that a request meets: its own directive's first, then the script's, then chance."""
        text = body if isinstance(body, str) else body.decode("utf-8", "replace")
        own = self._state.directives.fault(ask, directive)
        return own or self._state.faults.pick(Traits(path, ask.model, ask.agent, text))

    def _prepare(
        self, ask: Ask, model: Model, directive: Directive, fault: Fault | None, credential: str
    ) -> Answer:
        state = self._state
        plan = state.prompt_cache.plan(f"{credential}:{ask.model}", model.min_cache, blocks_of(ask.body))
        state.limits.admit(credential, model.limits, plan.usage.uncached + plan.usage.written)
        shape = fault.kind if fault and fault.kind in SHAPES else None
        reply = compose(ask, directive.tokens or state.config.reply_tokens, shape)
        state.limits.settle(credential, model.limits, reply.output_tokens)
        message = reply.message(state.new_id("msg"), ask.model, plan.usage)
        return Answer(
            message, state.limits.headers(credential, model.limits), self._pace(directive), plan, fault
        )

    def _pace(self, directive: Directive) -> Pace:
        total = self._state.latency() if directive.latency is None else directive.latency
        first = self._state.config.time_to_first_token if directive.ttft is None else directive.ttft
        return Pace(min(total, total / 4 if first is None else first), total)

    def _begin(self, record: RequestRecord, answer: Answer) -> None:
        """From the first byte on, its cache entries are readable and the call is paid."""
        self._state.prompt_cache.begin(answer.plan)
        record.usage = answer.message["usage"]

    async def _hand_over(self, exchange: Exchange, record: RequestRecord, answer: Answer) -> None:
        """Send the whole reply at once, after its whole latency."""
        await _pause(answer.pace.first)
        self._begin(record, answer)
        await _pause(answer.pace.total - answer.pace.first)
        if answer.fault and answer.fault.kind in STREAM_FAULTS | {"slow_body"}:
            await _hand_over_badly(exchange, record, answer)
            return
        _answered(record, 200)
        await exchange.answer_json(200, answer.message, answer.headers)

    async def _tell(self, exchange: Exchange, record: RequestRecord, answer: Answer) -> None:
        """Stream the reply at its pace."""
        await _pause(answer.pace.first)
        self._begin(record, answer)
        _answered(record, 200)
        pieces = stream.pieces(answer.message, self._state.config.stream_chunks)
        rest = answer.pace.total - answer.pace.first
        if answer.fault and answer.fault.kind in STREAM_FAULTS:
            await exchange.open_stream(answer.headers, stream.opening(answer.message))
            await _write_slowly(exchange, pieces[: len(pieces) // 2], rest / 2)
            await _break_stream(exchange, record, answer.fault)
            return
        if answer.fault and answer.fault.kind == "slow_body":
            rest = answer.fault.seconds or SLOW_BODY_SECONDS
        end = stream.closing(answer.message)
        if rest <= 0:
            await exchange.open_stream(
                answer.headers, b"".join([stream.opening(answer.message), *pieces, end])
            )
        else:
            await exchange.open_stream(answer.headers, stream.opening(answer.message))
            await _write_slowly(exchange, [*pieces[:-1], b"".join([*pieces[-1:], end])], rest)
        exchange.finish()


def note(record: RequestRecord, ask: Ask) -> None:
    """Write down what a request asked."""
    record.model, record.agent, record.stream = ask.model, ask.agent, ask.stream
    record.max_tokens, record.body_sha256 = ask.max_tokens, ask.digest


async def strike(exchange: Exchange, record: RequestRecord, fault: Fault) -> None:
    """Answer with an error, or do something to the connection instead.

    Raises:
        ApiProblem: the error to answer with.
    """
    if fault.kind == "html":
        _answered(record, fault.status)
        await exchange.answer(fault.status, HTML, content_type="text/html")
    elif fault.kind == "reset":
        record.outcome = "reset"
        exchange.reset()
    elif fault.kind == "hang":
        record.outcome = "hang"
        await (asyncio.Event().wait() if fault.seconds is None else asyncio.sleep(fault.seconds))
        exchange.cut()
    else:
        raise ApiProblem.of(fault)


def _answered(record: RequestRecord, status: int) -> None:
    record.status, record.outcome = status, str(status)


async def _hand_over_badly(exchange: Exchange, record: RequestRecord, answer: Answer) -> None:
    body = stream.json_of(answer.message)
    _answered(record, 200)
    if answer.fault and answer.fault.kind == "slow_body":
        size = -(-len(body) // SLOW_BODY_PIECES)
        parts = [body[start : start + size] for start in range(0, len(body), size)]
        await exchange.promise(len(body), answer.headers, parts[0])
        await _write_slowly(exchange, parts[1:], answer.fault.seconds or SLOW_BODY_SECONDS)
        exchange.finish()
        return
    record.outcome = "cut"
    await exchange.promise(len(body), answer.headers, body[: len(body) // 2])
    exchange.cut()


async def _break_stream(exchange: Exchange, record: RequestRecord, fault: Fault) -> None:
    if fault.kind == "stream_cut":
        record.outcome = "cut"
        exchange.cut()
        return
    if fault.kind == "stream_error":
        error_type, text = fault.error
        error: dict[str, Any] = {"type": error_type, "message": text}
        if fault.error_code:
            error["details"] = {"error_code": fault.error_code}
        await exchange.write(stream.event("error", {"error": error}))
    record.outcome = fault.kind
    exchange.finish()


async def _write_slowly(exchange: Exchange, parts: Sequence[bytes], seconds: float) -> None:
    """Send parts evenly over so many seconds."""
    for part in parts:
        await _pause(seconds / len(parts))
        await exchange.write(part)


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
