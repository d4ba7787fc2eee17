"""What is the state of a run? One record in Redis, changed by single Lua calls; its steps in `steps`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cf_workers._redis import Keys, RedisClient, Script
from cf_workers.errors import InputError, UnknownRunError
from cf_workers.wire import WIRE_VERSION, canonical_json
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.keyed_cache import KeyedCache
from cf_workers.workflows.plan import Plan, RunHeader
from cf_workers.workflows.steps import RecordPolicy, StepStore

_START, _FINISH, _STOP, _REOPEN = (
    Script(__package__, name) for name in ("start", "finish", "stop", "reopen")
)
_HEADERS_CACHED, _PLANS_CACHED = 512, 128


@dataclass(frozen=True)
class NewRun:
    """What a run record starts with."""

    run: str
    kind: Literal["workflow", "agent"]
    plan: Plan
    task: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: float | None = None
    idempotency_key: str | None = None
    message: Mapping[str, Any] | None = None


class RunStore(StepStore):
    """All run records of one namespace, their steps included."""

    def __init__(
        self, client: RedisClient, keys: Keys, definitions: Definitions, policy: RecordPolicy | None = None
    ) -> None:
        super().__init__(client, keys, policy)
        self._definitions = definitions
        self._headers = KeyedCache(self._read_header, size=_HEADERS_CACHED)
        self._plans = KeyedCache(self._read_plan, size=_PLANS_CACHED)

    def start(self, new: NewRun) -> str:
        """Create the record.

        Returns:
            The run's id; where the idempotency key was used before, that of the earlier run, for as long as
            its record is kept.
        """
        found = self._start(new)
        if found == new.run or self._client.exists(self._keys.run(found).run):
            return found
        return self._start(new, forgotten=found)

    def _start(self, new: NewRun, *, forgotten: str = "") -> str:
        keys = self._keys.run(new.run)
        return str(
            _START(
                self._client,
                {
                    "run": keys.run,
                    "events": keys.events,
                    "runs": self._keys.runs,
                    "active": self._keys.active,
                    "idempotency": self._keys.idempotency(new.idempotency_key or new.run),
                },
                {
                    "id": new.run,
                    "record": _first_record(new),
                    "deadline": new.timeout_seconds,
                    "ttl": int(self.policy.active_seconds),
                    "idempotent": new.idempotency_key is not None,
                    "forgotten": forgotten,
                },
            )
        )

    def header(self, run: str, attempt: int) -> RunHeader:
        """What stays the same during an attempt of a run; read once per process.

        Raises:
            UnknownRunError: there is no such run, or it is at another attempt.
            DefinitionMissingError: its plan is not in the store any more.
        """
        return self._headers.get((run, attempt))

    def current_header(self, run: str) -> RunHeader:
        """The same of the attempt that a run is at; read now.

        Raises:
            UnknownRunError: there is no such run.
            DefinitionMissingError: its plan is not in the store any more.
        """
        return self._read_header((run, None))

    def plan(self, digest: str) -> Plan:
        """A pinned plan; read once per process.

        Raises:
            DefinitionMissingError: it is not in the store any more.
        """
        return self._plans.get(digest)

    def current_attempt(self, run: str) -> int:
        """The number of the attempt that a run is at, from 1.

        Raises:
            UnknownRunError: there is no such run.
        """
        attempt = self._client.hget(self._keys.run(run).run, "attempt")
        if attempt is None:
            raise unknown_run(run)
        return int(attempt)

    def deadline(self, run: str) -> float | None:
        """Unix time at which a run is stopped, by the server's clock; `None`: it may take its time."""
        found = self._client.zscore(self._keys.active, run)
        return None if found is None or math.isinf(found) else float(found)

    def finish(self, run: str, attempt: int) -> tuple[str, str]:
        """End a run if nothing is left of it: the verdict of `scripts/finish.lua`, and the status."""
        keys = self._keys.run(run)
        verdict, status = _FINISH(
            self._client,
            {**vars(keys), "active": self._keys.active},
            {"id": run, "attempt": attempt, "retention": max(1, int(self.policy.retention_seconds))},
        )
        return verdict, status

    def stop(self, run: str, reason: Literal["cancelled", "timeout"]) -> tuple[str, int, int]:
        """Ask a run to stop: verdict, number of steps in flight, attempt.

        Raises:
            UnknownRunError: there is no such run.
        """
        keys = self._keys.run(run)
        verdict, running, attempt = _STOP(
            self._client,
            {"run": keys.run, "events": keys.events},
            {"reason": reason},
        )
        if verdict == "gone":
            raise unknown_run(run)
        return verdict, int(running), int(attempt)

    def reopen(self, run: str) -> int:
        """Make a run that has failed or was cancelled ready for another attempt.

        What succeeded stays. The caller sizes its joins and publishes its roots.

        Raises:
            UnknownRunError: there is no such run.
            InputError: it is still active, or it has succeeded.
        """
        keys = self._keys.run(run)
        fields = self._client.hmget(keys.run, "total", "timeout_seconds")
        verdict, attempt = _REOPEN(
            self._client,
            {**vars(keys), "active": self._keys.active},
            {
                "id": run,
                "total": fields[0] or 0,
                "deadline": fields[1] or "",
                "ttl": int(self.policy.active_seconds),
            },
        )
        if verdict == "gone":
            raise unknown_run(run)
        if verdict != "reopened":
            state = "is still active" if verdict == "running" else "has succeeded: there is nothing to retry"
            raise InputError(f"run {run!r} {state}", {"run": run})
        return int(attempt)

    def _read_plan(self, digest: str) -> Plan:
        return Plan.model_validate_json(self._definitions.get(digest))

    def _read_header(self, key: tuple[str, int | None]) -> RunHeader:
        run, attempt = key
        names = ("attempt", "plan", "task", "has_task", "inputs", "options", "kept", "message")
        found = dict(zip(names, self._client.hmget(self._keys.run(run).run, list(names)), strict=True))
        if found["plan"] is None or attempt not in {None, int(found["attempt"])}:
            raise unknown_run(run)
        return RunHeader(
            run=run,
            attempt=int(found["attempt"]),
            plan=self._plans.get(found["plan"]),
            task=found["task"] if found["has_task"] == "1" else None,
            inputs=json.loads(found["inputs"]),
            kept=frozenset(json.loads(found["kept"])),
            options=json.loads(found["options"]),
            message=json.loads(found["message"]) if found["message"] else None,
        )


def unknown_run(run: str) -> UnknownRunError:
    """The error for an id that nobody knows."""
    return UnknownRunError(
        f"no run or execution {run!r}",
        {"run": run, "hint": "records are kept for the configured retention; see `cf-workers runs list`"},
    )


def _first_record(new: NewRun) -> dict[str, Any]:
    """The fields of a record before anything has happened."""
    return {
        "version": WIRE_VERSION,
        "kind": new.kind,
        "name": new.plan.workflow,
        "status": "pending",
        "stopping": "",
        "attempt": 1,
        "plan": new.plan.digest,
        "total": len(new.plan.steps),
        "left": len(new.plan.steps),
        "running": 0,
        "failed": 0,
        "fence": 0,
        "task": new.task or "",
        "has_task": int(new.task is not None),
        "inputs": canonical_json(dict(new.inputs)),
        "options": canonical_json(dict(new.options)),
        "kept": "[]",
        "message": canonical_json(dict(new.message)) if new.message else "",
        "timeout_seconds": new.timeout_seconds or "",
    }
