"""What may a test or a benchmark see and change while the stand-in runs?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cf_workers.errors import ConfigError
from cf_workers.simulator.config import problems_of
from cf_workers.simulator.exchange import Exchange
from cf_workers.simulator.faults import ScriptedFault
from cf_workers.simulator.state import SimulatorState


class ControlApi:
    """`/_control/…`: no key needed, never logged, never delayed."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state

    async def serve(self, exchange: Exchange) -> None:
        """Answer one control request."""
        try:
            status, value = self._answer(exchange)
        except (ConfigError, ValueError) as error:
            status, value = 400, {"error": str(error), "hint": getattr(error, "hint", None)}
        await exchange.answer_json(status, value)

    def _answer(self, exchange: Exchange) -> tuple[int, Any]:
        path = exchange.path.removeprefix("/_control/")
        found = self._told(exchange, path) if exchange.method == "GET" else None
        if exchange.method == "POST":
            found = self._done(exchange, path)
        if found is None:
            return 404, {"error": f"There is no {exchange.method} {exchange.path}", "hint": None}
        return 200, found

    def _told(self, exchange: Exchange, path: str) -> Any:
        match path:
            case "requests":
                return self._requests(exchange)
            case "rows":
                return {"rows": [vars(row) for row in self._state.journal.rows()]}
            case "stats":
                return asdict(self._state.journal.stats())
            case "config":
                return self._state.config.shown()
            case "faults":
                return {"faults": [asdict(fault) for fault in self._state.faults.pending()]}
        return None

    def _done(self, exchange: Exchange, path: str) -> Any:
        match path:
            case "config":
                self._state.reconfigure(_object(exchange.body))
                return self._state.config.shown()
            case "faults":
                return self._script(_object(exchange.body))
            case "batches/end":
                return {"ended": self._state.batches.end()}
            case "reset":
                self._state.reset()
                return {"reset": True}
        return None

    def _requests(self, exchange: Exchange) -> dict[str, Any]:
        bodies = exchange.query("bodies") in ("1", "true")
        since = int(exchange.query("since", "0"))
        records = [vars(record) for record in self._state.journal.records() if record.number > since]
        if not bodies:
            records = [{key: value for key, value in record.items() if key != "body"} for record in records]
        stats = self._state.journal.stats()
        return {"requests": records, "dropped": stats.log_dropped, "bodies_dropped": stats.bodies_dropped}

    def _script(self, wanted: dict[str, Any]) -> dict[str, Any]:
        try:
            faults = TypeAdapter(list[ScriptedFault]).validate_python(wanted.get("faults", []))
        except ValidationError as error:
            raise ConfigError(f"These faults cannot be scripted: {problems_of(error)}") from None
        if wanted.get("replace", False):
            self._state.faults.clear()
        self._state.faults.script(faults)
        return {"pending": len(self._state.faults.pending())}


def _object(raw: bytes) -> dict[str, Any]:
    value = json.loads(raw or b"{}")
    if not isinstance(value, dict):
        raise ConfigError("The body must be a JSON object")
    return value
