"""Which endpoint answers a request?"""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.iostream import StreamClosedError

from cf_workers.simulator.ask import checked, parsed
from cf_workers.simulator.batch_rows import RowProcessor
from cf_workers.simulator.batches import Batch, page
from cf_workers.simulator.control_api import ControlApi
from cf_workers.simulator.exchange import Exchange
from cf_workers.simulator.faults import BATCHES, MESSAGES, Traits
from cf_workers.simulator.journal import RequestRecord
from cf_workers.simulator.messages import MessagesEndpoint, note, strike
from cf_workers.simulator.problem import ApiProblem, invalid
from cf_workers.simulator.prompt_cache import blocks_of
from cf_workers.simulator.state import SimulatorState, credential_digest
from cf_workers.simulator.stream import json_of

MAX_BODY = 32 * 1024 * 1024
MAX_BATCH_BODY = 256 * 1024 * 1024
CONTROL = "/_control/"


class Api:
    """Routes, authenticates, logs, and renders every problem."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state
        self._control = ControlApi(state)
        self._messages = MessagesEndpoint(state)
        self._rows = RowProcessor(state, self._messages)

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request; a client that leaves ends it by cancellation."""
        if exchange.path.startswith(CONTROL):
            await self._control.serve(exchange)
            return
        clock, journal = self._state.clock, self._state.journal
        record = journal.open(clock.now(), exchange.method, exchange.path, exchange.body)
        exchange.identify(request_id_of(record))
        try:
            await self._answer(exchange, record)
        except (asyncio.CancelledError, StreamClosedError):
            record.disconnected = True
            raise
        finally:
            journal.close(record, clock.now())

    async def _answer(self, exchange: Exchange, record: RequestRecord) -> None:
        try:
            key = self._authenticated(exchange, record)
            await self._route(exchange, record, key)
            if record.status is None and not record.outcome:
                record.status, record.outcome = 200, "200"
        except ApiProblem as problem:
            record.status, record.outcome = problem.status, str(problem.status)
            body = problem.body(request_id_of(record))
            await exchange.answer_json(problem.status, body, problem.headers)

    def _authenticated(self, exchange: Exchange, record: RequestRecord) -> str:
        """The key of the request; `x-api-key` wins where both headers are there."""
        headers = exchange.headers
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        record.credential = credential_digest(key) if key else ""
        retries = headers.get("x-stainless-retry-count", "0")
        record.sdk_retry = int(retries) if retries.isdigit() else 0
        expected = self._state.config.api_key
        if not key or (key != expected if expected is not None else "invalid" in key):
            raise ApiProblem(401)
        if not headers.get("anthropic-version"):
            raise invalid("anthropic-version: header is required")
        return key

    async def _route(self, exchange: Exchange, record: RequestRecord, key: str) -> None:
        limit = MAX_BATCH_BODY if exchange.path == BATCHES else MAX_BODY
        if len(exchange.body) > limit:
            raise ApiProblem(413, f"Request exceeds the maximum size of {limit // 1024 // 1024} MB")
        match (exchange.method, exchange.path.rstrip("/").split("/")[1:]):
            case ("POST", ["v1", "messages"]):
                await self._messages.create(exchange, record, key)
            case ("POST", ["v1", "messages", "count_tokens"]):
                await self._count_tokens(exchange, record)
            case (method, ["v1", "messages", "batches", *rest]):
                await self._about_batches(exchange, record, method, rest, credential_digest(key))
            case ("GET", ["v1", "models"]):
                models = [model.as_json() for model in self._state.models.values()]
                await exchange.answer_json(200, _page(exchange, models))
            case ("GET", ["v1", "models", name]):
                await self._model(exchange, name)
            case _:
                raise ApiProblem(404, f"There is no {exchange.method} {exchange.path}")

    async def _about_batches(
        self, exchange: Exchange, record: RequestRecord, method: str, rest: list[str], credential: str
    ) -> None:
        fault = self._state.faults.pick(Traits(BATCHES, text=f"{method} {exchange.path}"))
        record.fault = fault.kind if fault else None
        if fault is not None and fault.kind != "lost_reply":
            await strike(exchange, record, fault)
        elif fault is not None and (method, rest) == ("POST", []):
            self._new_batch(exchange, credential)
            record.outcome = "reset"
            exchange.reset()
        else:
            await self._batches(exchange, method, rest, credential)

    async def _struck(self, exchange: Exchange, record: RequestRecord, seen: Traits) -> bool:
        """Whether a fault answered instead."""
        fault = self._state.faults.pick(seen)
        if fault is None:
            return False
        record.fault = fault.kind
        await strike(exchange, record, fault)
        return True

    async def _count_tokens(self, exchange: Exchange, record: RequestRecord) -> None:
        ask = parsed(exchange.body)
        note(record, ask)
        version = exchange.headers.get("anthropic-version", "")
        checked(ask, self._state.models, version, beta="anthropic-beta" in exchange.headers, counting=True)
        if await self._struck(exchange, record, Traits(f"{MESSAGES}/count_tokens", ask.model, ask.agent)):
            return
        tokens = sum(block.tokens for block in blocks_of(ask.body))
        await exchange.answer_json(200, {"input_tokens": tokens})

    async def _model(self, exchange: Exchange, name: str) -> None:
        model = self._state.models.get(name)
        if model is None:
            raise ApiProblem(404, f"model: {name}")
        await exchange.answer_json(200, model.as_json())

    async def _batches(self, exchange: Exchange, method: str, rest: list[str], credential: str) -> None:
        match (method, rest):
            case ("POST", []):
                await self._create_batch(exchange, credential)
            case ("GET", []):
                await self._list_batches(exchange, credential)
            case ("GET", [name]):
                await exchange.answer_json(200, await self._shown(exchange, name, credential))
            case ("POST", [name, "cancel"]):
                self._state.batches.get(name, credential).cancel(self._state.clock.now())
                await exchange.answer_json(200, await self._shown(exchange, name, credential))
            case ("GET", [name, "results"]):
                await self._results(exchange, name, credential)
            case ("DELETE", [name]):
                self._state.batches.delete(self._state.batches.get(name, credential))
                await exchange.answer_json(200, {"id": name, "type": "message_batch_deleted"})
            case _:
                raise ApiProblem(404, f"There is no {method} {exchange.path}")

    def _new_batch(self, exchange: Exchange, credential: str) -> Batch:
        body = dict(parsed(exchange.body).body)
        seconds = self._state.config.batch_seconds
        return self._state.batches.create(self._state.new_id("msgbatch"), credential, body, seconds)

    async def _create_batch(self, exchange: Exchange, credential: str) -> None:
        batch = self._new_batch(exchange, credential)
        await exchange.answer_json(200, await self._shown(exchange, batch.id, credential))

    async def _list_batches(self, exchange: Exchange, credential: str) -> None:
        batches = self._state.batches.of(credential)
        shown = [await self._shown(exchange, batch.id, credential) for batch in batches]
        await exchange.answer_json(200, _page(exchange, shown))

    async def _shown(self, exchange: Exchange, name: str, credential: str) -> dict[str, Any]:
        batch = self._state.batches.get(name, credential)
        await self._rows.finish(batch)
        return batch.as_json(self._state.clock.now(), f"http://{exchange.host}")

    async def _results(self, exchange: Exchange, name: str, credential: str) -> None:
        batch = self._state.batches.get(name, credential)
        await self._rows.finish(batch)
        if batch.results is None:
            raise invalid(f"Message batch {name} has not ended; its results are not available yet")
        lines = b"".join(json_of(line) + b"\n" for line in batch.results)
        await exchange.answer(200, lines, content_type="application/x-jsonl")


def request_id_of(record: RequestRecord) -> str:
    """The id under which a person finds the request in the log."""
    return f"req_sim_{record.number:012d}"


def _page(exchange: Exchange, items: list[dict[str, Any]]) -> dict[str, Any]:
    return page(items, exchange.query("after_id"), exchange.query("before_id"), exchange.query("limit"), 20)
