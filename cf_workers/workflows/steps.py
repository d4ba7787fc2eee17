"""Who may execute a step, and what became of it? Each answer is one Lua call, refused to a stale fence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cf_workers._redis import Keys, RedisClient, Script
from cf_workers.wire import WIRE_VERSION
from cf_workers.workflows.accounts import AccountsPolicy, account_of, sample_of, sampled_under, sums_of, today
from cf_workers.workflows.outcome import FINAL, Claim, Committed, Outcome
from cf_workers.workflows.plan import PlannedStep, RunHeader

Unparked = Literal["parked", "running", "gone"]
_UNPARKED: dict[int, Unparked] = {1: "parked", 0: "running", -1: "gone"}

_CLAIM, _COMMIT, _DEFER, _UNPARK, _EXPLAIN, _BOOK_LOST = (
    Script(__package__, name) for name in ("claim", "commit", "defer", "unpark", "explain", "book_lost")
)
_STEP_UNDER_WAY = frozenset({"running", "retrying", "parked"})


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


class StepStore:
    """The steps of all run records of one namespace."""

    def __init__(self, client: RedisClient, keys: Keys, policy: RecordPolicy | None = None) -> None:
        self._client = client
        self._keys = keys
        self.policy = policy or RecordPolicy()

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
        done, left, running, stopping = _COMMIT(
            self._client,
            {
                **vars(keys),
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
                "ttl": int(self.policy.active_seconds),
                "lost": outcome.lost_calls,
                "saved_nanos": outcome.saved_nanos,
                **self._booked(outcome, ended=True),
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
            self._booked(spent, ended=False),
        )

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
        spent: Outcome | None,
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
                    "probe": spent is not None and state == "parked",
                    **self._booked(spent, ended=False),
                },
            )
        )

    def _booked(self, spent: Outcome | None, *, ended: bool) -> dict[str, Any]:
        """What is added to the totals of a run and to the sums of the day."""
        return {
            "input_tokens": spent.input_tokens if spent else 0,
            "output_tokens": spent.output_tokens if spent else 0,
            "cost_nanos": spent.cost_nanos if spent else 0,
            "account": account_of(spent),
            "sums": sums_of(spent, ended=ended),
            "daily_ttl": self.policy.accounts.daily_seconds,
        }


def unpark(client: RedisClient, keys: Keys, waiters: Sequence[str]) -> list[Unparked]:
    """`StepStore.unpark`, for the steps of any namespace."""
    with client.pipeline(transaction=False) as pipe:
        for waiter in waiters:
            run, step = waiter.split("\t")
            _UNPARK(pipe, {"steps": keys.run(run).steps, "parked": keys.parked}, {"id": run, "step": step})
        return [_UNPARKED[int(told)] for told in pipe.execute()]


def _is_awaited(record: Sequence[str | None], state: str | None, attempt: int) -> bool:
    status, stopping, current = record
    if status is None or status in FINAL or stopping or int(current or 0) != attempt:
        return False
    return state is not None and json.loads(state)["s"] in _STEP_UNDER_WAY
