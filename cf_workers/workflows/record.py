"""What is the state of a run, and who may change it? One record in Redis, changed by single Lua calls."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cf_workers._redis import Keys, RedisClient, Script
from cf_workers._redis.keys import RunKeys
from cf_workers.errors import InputError, UnknownRunError
from cf_workers.wire import WIRE_VERSION, canonical_json
from cf_workers.workflows.accounts import AccountsPolicy, account_of, sample_of, sampled_under, sums_of, today
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.keyed_cache import KeyedCache
from cf_workers.workflows.plan import Plan, PlannedStep, RunHeader

Verdict = Literal[
    "run", "skip", "cancel", "lost", "done", "held", "waiting", "early", "over", "stale", "gone", "wire"
]
Ended = Literal["succeeded", "failed", "skipped", "cancelled"]
Unparked = Literal["parked", "running", "gone"]
_UNPARKED: dict[int, Unparked] = {1: "parked", 0: "running", -1: "gone"}

_START, _CLAIM, _COMMIT, _DEFER, _FINISH, _STOP, _REOPEN, _UNPARK, _EXPLAIN, _BOOK_LOST = (
    Script(__package__, name)
    for name in (
        "start",
        "claim",
        "commit",
        "defer",
        "finish",
        "stop",
        "reopen",
        "unpark",
        "explain",
        "book_lost",
    )
)
_RUN_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_STEP_UNDER_WAY = frozenset({"running", "retrying", "parked"})
_HEADERS_CACHED, _PLANS_CACHED = 512, 128


@dataclass(frozen=True)
class RecordPolicy:
    """How long records live, and when a claim counts as dead.

    Args:
        retention_seconds: how long a run stays readable after its end.
        active_seconds: when a run that never ends is dropped.
        lease_seconds: a claim that was not renewed for this long is dead.
        early_seconds: how much before its due time a retry may start; clocks differ.
        max_deaths: workers that may die under a step before it fails.
    """

    retention_seconds: float = 7 * 86_400.0
    active_seconds: float = 30 * 86_400.0
    lease_seconds: float = 8.0
    early_seconds: float = 1.0
    max_deaths: int = 3
    accounts: AccountsPolicy = field(default_factory=AccountsPolicy)


@dataclass(frozen=True)
class Claim:
    """The right to execute a step, valid while its fence is the newest and its lease is renewed.

    Args:
        attempts: requests that earlier claims made.
        dead: the workers that died under the step, the first twenty of them.
        outputs: those of the step's dependencies, in that order, if it sees them; `None` where one has none.
        probes: calls that found the provider still failing; they are not among the attempts.
    """

    run: str
    step: str
    fence: int
    attempts: int
    deaths: int
    verdict: Verdict
    outputs: tuple[str | None, ...] = ()
    probes: int = 0
    dead: tuple[str, ...] = ()

    @property
    def waiter(self) -> str:
        """Names the step, the same in each of its claims."""
        return f"{self.run}\t{self.step}"

    @property
    def member(self) -> str:
        """How the claim is listed among the claims of the fleet."""
        return f"{self.run}\t{self.step}\t{self.fence}"


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Args:
        attempts: calls made, those of earlier workers included.
        result: what is kept of it beside the output; JSON values.
        cost_nanos: billionths of a US dollar; `None` when the price is unknown.
        lost_calls: calls that may have been paid and whose answer nobody has.
        saved_nanos: what the cache spared.
        asked_model: the model as it was asked for, where the reply may name a snapshot of it.
    """

    status: Ended
    attempts: int
    result: Mapping[str, Any]
    output: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int | None = 0
    counts_against_run: bool = False
    lost_calls: int = 0
    saved_nanos: int = 0
    asked_model: str = ""


@dataclass(frozen=True)
class Committed:
    """What a commit left behind."""

    left: int
    running: int
    stopping: str


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


class RunStore:
    """All run records of one namespace."""

    def __init__(
        self, client: RedisClient, keys: Keys, definitions: Definitions, policy: RecordPolicy | None = None
    ) -> None:
        self._client = client
        self._keys = keys
        self._definitions = definitions
        self.policy = policy or RecordPolicy()
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

    def claim(
        self, header: RunHeader, step: PlannedStep, worker: str, *, may_take_over: bool, nonce: str = ""
    ) -> Claim:
        """Take a step on, or learn why not; see `scripts/claim.lua` for the verdicts.

        Args:
            nonce: names this wish, and no other; who repeats it gets the claim that it did not hear of.
        """
        keys = self._keys.run(header.run)
        verdict, fence, attempts, deaths, *rest = _CLAIM(
            self._client,
            {
                "run": keys.run,
                "steps": keys.steps,
                "events": keys.events,
                "claims": self._keys.claims,
                "due": self._keys.due,
                "parked": self._keys.parked,
                "counters": self._keys.counters,
                "outputs": keys.outputs,
            },
            {
                "id": header.run,
                "step": step.id,
                "attempt": header.attempt,
                "worker": worker,
                "dependencies": list(step.dependencies),
                "rule": step.rule,
                "lease": self.policy.lease_seconds,
                "may_take_over": may_take_over,
                "max_deaths": self.policy.max_deaths,
                "wire": WIRE_VERSION,
                "ttl": int(self.policy.active_seconds),
                "early": self.policy.early_seconds,
                "passes": step.passes,
                "nonce": nonce,
            },
        )
        return Claim(
            header.run,
            step.id,
            int(fence),
            attempts=int(attempts),
            deaths=int(deaths),
            verdict=verdict,
            outputs=tuple(rest[0]) if rest else (),
            probes=int(rest[1]) if rest else 0,
            dead=tuple(rest[2]) if rest else (),
        )

    def commit(self, claim: Claim, outcome: Outcome) -> Committed | None:
        """End a step; everything or nothing.

        Returns:
            What is left of the run, or `None` when another claim has superseded this one.
        """
        keys = self._keys.run(claim.run)
        account = account_of(outcome)
        done, left, running, stopping = _COMMIT(
            self._client,
            {
                **_run_keys(keys),
                "claims": self._keys.claims,
                "counters": self._keys.counters,
                "daily": self._keys.daily(today()),
                "samples": self._keys.samples(*sampled_under(outcome)),
            },
            {
                "id": claim.run,
                "step": claim.step,
                "fence": claim.fence,
                "status": outcome.status,
                "attempts": outcome.attempts,
                "counts_against": outcome.counts_against_run,
                "result": dict(outcome.result),
                "output": outcome.output,
                "input_tokens": outcome.input_tokens,
                "output_tokens": outcome.output_tokens,
                "cost_nanos": outcome.cost_nanos,
                "ttl": int(self.policy.active_seconds),
                "lost": outcome.lost_calls,
                "saved_nanos": outcome.saved_nanos,
                "account": account,
                "sums": sums_of(outcome, ended=True),
                "daily_ttl": self.policy.accounts.daily_seconds,
                "sample": sample_of(outcome),
                "samples_kept": self.policy.accounts.samples_kept,
                "samples_ttl": self.policy.accounts.samples_seconds,
            },
        )
        return Committed(int(left), int(running), stopping) if int(done) else None

    def defer(
        self,
        claim: Claim,
        *,
        attempts: int,
        countdown: float,
        reason: str,
        lost_calls: int = 0,
        spent: Outcome | None = None,
    ) -> bool:
        """Give a claim back until `countdown` seconds from now, when the message sent meanwhile is due.

        Args:
            spent: what the failed attempt cost all the same; it is added to the run's totals.

        Returns:
            False when the fence is stale.
        """
        return self._give_back(
            claim,
            "retrying",
            attempts=attempts,
            countdown=countdown,
            reason=reason,
            lost_calls=lost_calls,
            spent=spent,
        )

    def park(
        self,
        claim: Claim,
        *,
        countdown: float,
        reason: str,
        lost_calls: int = 0,
        probed: Outcome | None = None,
    ) -> bool:
        """Give a claim back until its call may be made; that costs no attempt, no slot and no message.

        The reconciler publishes the step when `countdown` seconds have passed.

        Args:
            probed: what a call cost that found the provider still failing.

        Returns:
            False when the fence is stale.
        """
        return self._give_back(
            claim,
            "parked",
            attempts=claim.attempts,
            countdown=countdown,
            reason=reason,
            lost_calls=lost_calls,
            spent=probed,
        )

    def unpark(self, waiters: Sequence[str]) -> list[Unparked]:
        """Make parked steps due now; the reconciler publishes them at its next tick.

        Args:
            waiters: names as `Claim.waiter` gives them; those that are not parked are passed over.

        Returns:
            For each of them what it was: parked, running and perhaps about to be parked, or gone.
        """
        return unpark(self._client, self._keys, waiters)

    def explain(self, waiters: Sequence[str], reason: str) -> None:
        """Say anew what parked steps wait for; those that are not parked are passed over."""
        with self._client.pipeline(transaction=False) as pipe:
            for waiter in waiters:
                run, step = waiter.split("\t")
                keys = self._keys.run(run)
                _EXPLAIN(pipe, {"steps": keys.steps, "events": keys.events}, {"step": step, "reason": reason})
            pipe.execute()

    def book_lost(self, run: str, spent: Outcome) -> None:
        """Add to the totals of a run and of the day what was paid for an answer that came too late."""
        _BOOK_LOST(
            self._client,
            {
                "run": self._keys.run(run).run,
                "counters": self._keys.counters,
                "daily": self._keys.daily(today()),
            },
            {
                "input_tokens": spent.input_tokens,
                "output_tokens": spent.output_tokens,
                "cost_nanos": spent.cost_nanos,
                "account": account_of(spent),
                "sums": sums_of(spent, ended=False),
                "daily_ttl": self.policy.accounts.daily_seconds,
            },
        )

    def deadline(self, run: str) -> float | None:
        """Unix time at which a run is stopped, by the server's clock; `None`: it may take its time."""
        found = self._client.zscore(self._keys.active, run)
        return None if found is None or math.isinf(found) else float(found)

    def awaited(self, tries: Sequence[tuple[str, str, int]]) -> list[bool]:
        """For each run, step and attempt of the run, whether its step is still to be brought to an end."""
        with self._client.pipeline(transaction=False) as pipe:
            for run, step, _ in tries:
                keys = self._keys.run(run)
                pipe.hmget(keys.run, "status", "stopping", "attempt")
                pipe.hget(keys.steps, step)
            found = pipe.execute()
        return [
            _is_awaited(record, state, attempt)
            for (_, _, attempt), record, state in zip(tries, found[::2], found[1::2], strict=True)
        ]

    def outputs(self, run: str, steps: Sequence[str]) -> tuple[str | None, ...]:
        """The outputs of steps that have ended; `None` where one has none."""
        return tuple(self._client.hmget(self._keys.run(run).outputs, list(steps))) if steps else ()

    def _give_back(
        self,
        claim: Claim,
        state: Literal["retrying", "parked"],
        *,
        attempts: int,
        countdown: float,
        reason: str,
        lost_calls: int,
        spent: Outcome | None = None,
    ) -> bool:
        keys = self._keys.run(claim.run)
        return bool(
            _DEFER(
                self._client,
                {
                    "run": keys.run,
                    "steps": keys.steps,
                    "events": keys.events,
                    "claims": self._keys.claims,
                    "waiting": self._keys.parked if state == "parked" else self._keys.due,
                    "counters": self._keys.counters,
                    "daily": self._keys.daily(today()),
                },
                {
                    "id": claim.run,
                    "step": claim.step,
                    "fence": claim.fence,
                    "attempts": attempts,
                    "state": state,
                    "countdown": countdown,
                    "reason": reason,
                    "lost": lost_calls,
                    "input_tokens": spent.input_tokens if spent else 0,
                    "output_tokens": spent.output_tokens if spent else 0,
                    "cost_nanos": spent.cost_nanos if spent else 0,
                    "probe": spent is not None and state == "parked",
                    "account": account_of(spent),
                    "sums": sums_of(spent, ended=False),
                    "daily_ttl": self.policy.accounts.daily_seconds,
                },
            )
        )

    def finish(self, run: str, attempt: int) -> tuple[str, str]:
        """End a run if nothing is left of it: the verdict of `scripts/finish.lua`, and the status."""
        keys = self._keys.run(run)
        verdict, status = _FINISH(
            self._client,
            {**_run_keys(keys), "active": self._keys.active},
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
            {**_run_keys(keys), "active": self._keys.active},
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


def _is_awaited(record: Sequence[str | None], state: str | None, attempt: int) -> bool:
    status, stopping, current = record
    if status is None or status in _RUN_ENDED or stopping or int(current or 0) != attempt:
        return False
    return state is not None and json.loads(state)["s"] in _STEP_UNDER_WAY


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


def unpark(client: RedisClient, keys: Keys, waiters: Sequence[str]) -> list[Unparked]:
    """`RunStore.unpark`, for the steps of any namespace."""
    with client.pipeline(transaction=False) as pipe:
        for waiter in waiters:
            run, step = waiter.split("\t")
            _UNPARK(pipe, {"steps": keys.run(run).steps, "parked": keys.parked}, {"id": run, "step": step})
        return [_UNPARKED[int(told)] for told in pipe.execute()]


def _run_keys(keys: RunKeys) -> dict[str, str]:
    return {
        "run": keys.run,
        "steps": keys.steps,
        "results": keys.results,
        "outputs": keys.outputs,
        "order": keys.order,
        "events": keys.events,
    }
