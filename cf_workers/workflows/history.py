"""What happened in a run so far? Read from its record as documents, listings and events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from cf_workers._redis import Keys, RedisClient
from cf_workers.errors import CfWorkersError, DefinitionMissingError, InputError, restore_error
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.documents import execution_document, run_document, step_document, told_status
from cf_workers.workflows.outcome import FINAL
from cf_workers.workflows.plan import Plan, PlannedStep
from cf_workers.workflows.record import unknown_run

_STATUS_FIELDS = ("status", "running", "parked")


@dataclass(frozen=True)
class RunEvent:
    """One thing that happened.

    Args:
        id: its place in the stream; events after it are read with `after=id`.
        type: `run.created|started|stopping|reopened|finished` or `step.started|retrying|parked|succeeded|
            failed|skipped|cancelled`.
        at: Unix seconds, by the server's clock.
    """

    id: str
    type: str
    run: str
    at: float
    step: str | None
    data: Mapping[str, str]


class History:
    """Reads run records; changes nothing."""

    def __init__(self, client: RedisClient, keys: Keys, definitions: Definitions) -> None:
        self._client = client
        self._keys = keys
        self._definitions = definitions

    def exists(self, run: str) -> bool:
        """Whether there is a record of that id."""
        return bool(self._client.exists(self._keys.run(run).run))

    def status(self, run: str) -> str:
        """`pending|running|parked|succeeded|failed|cancelled`.

        Raises:
            UnknownRunError: there is no such run.
        """
        record = dict(
            zip(
                _STATUS_FIELDS, self._client.hmget(self._keys.run(run).run, list(_STATUS_FIELDS)), strict=True
            )
        )
        if record["status"] is None:
            raise unknown_run(run)
        return told_status(record)

    def statuses(self, runs: Sequence[str]) -> dict[str, str | None]:
        """The status of each, in one round trip; `None` for one whose record is not there."""
        with self._client.pipeline(transaction=False) as pipe:
            for run in runs:
                pipe.hmget(self._keys.run(run).run, list(_STATUS_FIELDS))
            records = [dict(zip(_STATUS_FIELDS, found, strict=True)) for found in pipe.execute()]
        return {
            run: None if record["status"] is None else told_status(record)
            for run, record in zip(runs, records, strict=True)
        }

    def plan(self, run: str) -> Plan:
        """What the run executes.

        Raises:
            UnknownRunError: there is no such run.
            DefinitionMissingError: its plan is not in the store any more.
        """
        digest = self._client.hget(self._keys.run(run).run, "plan")
        if digest is None:
            raise unknown_run(run)
        return Plan.model_validate_json(self._definitions.get(digest))

    def document(self, run: str, *, outputs: bool = True) -> dict[str, Any]:
        """The whole record, as `run-workflow --json` and `runs show --json` print it.

        Args:
            outputs: whether the outputs of the steps are part of it.

        Raises:
            UnknownRunError: there is no such run.
        """
        keys = self._keys.run(run)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.run)
            pipe.hgetall(keys.steps)
            pipe.hgetall(keys.results)
            pipe.lrange(keys.order, 0, -1)
            if outputs:
                pipe.hgetall(keys.outputs)
            record, states, results, order, *texts = pipe.execute()
        if not record:
            raise unknown_run(run)
        steps = {
            step.id: step_document(
                step,
                json.loads(states.get(step.id, "{}")),
                json.loads(results.get(step.id, "{}")),
                texts[0].get(step.id) if texts else None,
                run_ended=record["status"] in FINAL,
            )
            for step in self._plan_of(record)
        }
        return run_document(run, record, steps, order)

    def execution(self, run: str) -> dict[str, Any]:
        """A single execution, as `execute --json` prints it.

        Raises:
            UnknownRunError: there is no such execution.
            InputError: it is a run of a workflow.
            DefinitionMissingError: its plan is not in the store any more.
        """
        document = self.document(run)
        return execution_document(run, document["status"], self._only_result(document))

    def execution_error(self, run: str) -> CfWorkersError:
        """The error with which an execution ended; raises as `execution` does."""
        result = self._only_result(self.document(run))
        return restore_error(result["error"] or {"type": "", "message": f"execution {run!r} failed"})

    def newest(self, *, limit: int = 20, offset: int = 0) -> list[dict[str, Any]]:
        """The newest runs and executions first, without their steps."""
        found = self._client.zrevrange(self._keys.runs, offset, offset + limit - 1)
        with self._client.pipeline(transaction=False) as pipe:
            for run in found:
                pipe.hgetall(self._keys.run(run).run)
            records = pipe.execute()
        return [
            run_document(run, record, {}, []) for run, record in zip(found, records, strict=True) if record
        ]

    def events(self, run: str, *, after: str = "0-0", wait_seconds: float = 0.0) -> list[RunEvent]:
        """What happened after an event, in order; empty if nothing did within `wait_seconds`."""
        found = cast(
            Any,
            self._client.xread(
                {self._keys.run(run).events: after}, block=max(1, int(wait_seconds * 1000)), count=1000
            ),
        )
        return [_event(run, key, fields) for _, entries in _streams(found) for key, fields in entries]

    def last_event(self, run: str) -> str:
        """The place of the newest event, to wait for what comes after it."""
        found = self._client.xrevrange(self._keys.run(run).events, count=1)
        return str(found[0][0]) if found else "0-0"

    def follow(self, run: str, *, wait_seconds: float = 2.0) -> Iterator[RunEvent | None]:
        """Everything that happens until the run has ended; `None` whenever nothing did for a while.

        Raises:
            UnknownRunError: there is no such run, or its record left the store meanwhile.
        """
        after = "0-0"
        while True:
            ended = self.status(run) in FINAL  # asked first: what happens from here on is read below
            events = self.events(run, after=after, wait_seconds=0.0 if ended else wait_seconds)
            for event in events:
                after = event.id
                yield event
            if not events:
                if ended:
                    return
                yield None

    def _only_result(self, document: Mapping[str, Any]) -> dict[str, Any]:
        run = document["run_id"]
        if not document["results"]:
            self.plan(run)  # says what is missing
        if len(document["results"]) != 1:
            raise InputError(
                f"{run!r} is a run of a workflow, not an execution of one agent",
                {"run": run, "hint": f"see `cf-workers runs show {run}`"},
            )
        return dict(*document["results"].values())

    def _plan_of(self, record: Mapping[str, str]) -> tuple[PlannedStep, ...]:
        try:
            return Plan.model_validate_json(self._definitions.get(record["plan"])).steps
        except DefinitionMissingError:
            return ()


def _streams(found: Any) -> list[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """XREAD answers a list in RESP2 and a mapping in RESP3."""
    if not found:
        return []
    if isinstance(found, dict):
        return [
            (name, entries[0] if entries and isinstance(entries[0], list) else entries)
            for name, entries in found.items()
        ]
    return list(found)


def _event(run: str, key: str, fields: dict[str, str]) -> RunEvent:
    data = dict(fields)
    return RunEvent(key, data.pop("type"), run, float(data.pop("at")), data.pop("step", None), data)
