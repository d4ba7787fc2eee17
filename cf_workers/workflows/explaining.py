"""What does each step of a run wait for, and how long will that be?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cf_workers._redis import Keys, RedisClient
from cf_workers.wire import CONTROL
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.outcome import FINAL
from cf_workers.workflows.plan import FINISH, Plan, PlannedStep, predecessors
from cf_workers.workflows.record import unknown_run

Blocker = Literal[
    "dependencies", "worker", "lost_worker", "parked", "retry", "queue", "no_worker", "stopping"
]

_ENDED = frozenset({"succeeded", "failed", "skipped", "cancelled"})
_EVENTS_AT_ONCE = 1000
_NAMED = 5


@dataclass(frozen=True)
class Fleet:
    """What is known of the workers and the queues at one moment.

    Args:
        listeners: by queue, how many workers take from it.
        lengths: by queue, how many messages wait in it.
        lease_seconds: a claim that was not renewed for so long is dead.
    """

    listeners: Mapping[str, int] = field(default_factory=dict)
    lengths: Mapping[str, int] = field(default_factory=dict)
    lease_seconds: float = 8.0


@dataclass(frozen=True)
class Wait:
    """Why a step has not ended.

    Args:
        status: `waiting|running|retrying|parked`.
        says: the same for a person, without how long.
        steps: those it waits for.
        worker: who has it, or had it.
        until: Unix time at which it goes on, where that is known; it may have passed.
        seconds: from now until then, never below 0; for a step that runs, `None`.
    """

    step: str
    status: str
    blocker: Blocker
    says: str
    steps: tuple[str, ...] = ()
    worker: str | None = None
    queue: str | None = None
    until: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Explanation:
    """Everything a run waits for.

    Args:
        status: as the record has it.
        waits: one a step that has not ended, in the order of the plan.
    """

    run: str
    workflow: str
    status: str
    waits: tuple[Wait, ...]

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "run_id": self.run,
            "workflow_name": self.workflow,
            "status": self.status,
            "waits": [asdict(wait) for wait in self.waits],
        }


def explain(client: RedisClient, keys: Keys, definitions: Definitions, run: str, fleet: Fleet) -> Explanation:
    """Say what each step of a run waits for; nothing of a run that has ended.

    Raises:
        UnknownRunError: there is no such run.
        DefinitionMissingError: its plan is not in the store any more.
    """
    own = keys.run(run)
    with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(own.run)
        pipe.hgetall(own.steps)
        pipe.time()
        record, raw, (seconds, micros) = pipe.execute()
    if not record:
        raise unknown_run(run)
    plan = Plan.model_validate_json(definitions.get(record["plan"]))
    states = {step: json.loads(text) for step, text in raw.items()}
    moment = _Moment(
        plan,
        states,
        seconds + micros / 1e6,
        fleet,
        stopping=record.get("stopping", ""),
        renewed=_renewed(client, keys, run, states),
        reasons=_reasons(client, own.events, states),
    )
    waits = () if record["status"] in FINAL else tuple(moment.waits())
    return Explanation(run, plan.workflow, record["status"], waits)


@dataclass(frozen=True)
class _Moment:
    """A run and its fleet at one moment.

    Args:
        renewed: when the claims of running steps were renewed.
        reasons: why steps were parked, or failed and are tried again.
    """

    plan: Plan
    states: Mapping[str, Mapping[str, Any]]
    now: float
    fleet: Fleet
    stopping: str
    renewed: Mapping[str, float]
    reasons: Mapping[str, str]

    def waits(self) -> Iterator[Wait]:
        left = [step for step in self.plan.steps if self._status(step.id) not in _ENDED]
        for step in left:
            yield self._wait(step)
        if not left:
            yield self._queued(FINISH, CONTROL, "every step has ended, and the run's own end")

    def _status(self, step: str) -> str:
        return str(self.states.get(step, {}).get("s", "waiting"))

    def _wait(self, step: PlannedStep) -> Wait:
        status = self._status(step.id)
        if status == "running":
            return self._running(step)
        if self.stopping:
            says = f"the run is stopping ({self.stopping}); it will not be started"
            return Wait(step.id, status, "stopping", says)
        if status in ("parked", "retrying"):
            return self._put_off(step, status)
        missing = tuple(one for one in predecessors(step) if self._status(one) not in _ENDED)
        if missing:
            more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            says = f"the end of {', '.join(missing[:_NAMED])}{more}"
            return Wait(step.id, status, "dependencies", says, steps=missing)
        skipped = step.rule == "all_succeeded" and any(
            self._status(one) != "succeeded" for one in step.dependencies
        )
        what = "to be skipped, since a dependency did not succeed: its message" if skipped else "its message"
        return self._queued(step.id, step.queue, what)

    def _running(self, step: PlannedStep) -> Wait:
        worker = str(self.states[step.id].get("w", "?"))
        silent = self.now - self.renewed.get(step.id, 0.0)
        if silent > self.fleet.lease_seconds:
            heard = f"for {silent:.0f} s" if step.id in self.renewed else "any more"
            says = f"worker {worker} was not heard of {heard}; another one takes the step over"
            return self._without_workers(Wait(step.id, "running", "lost_worker", says, worker=worker))
        ran = max(0.0, self.now - float(self.states[step.id].get("st") or self.now))
        bound = f"an attempt may take {step.timeout_seconds:g} s"
        late = f"; it was last heard of {silent:.0f} s ago" if silent > self.fleet.lease_seconds / 2 else ""
        says = f"the answer: worker {worker} has been at it for {ran:.0f} s, {bound}{late}"
        return Wait(step.id, "running", "worker", says, worker=worker)

    def _put_off(self, step: PlannedStep, status: str) -> Wait:
        state = self.states[step.id]
        due = float(state.get("due") or self.now)
        reason = self.reasons.get(step.id, "its reason is no longer known")
        said = reason if status == "parked" else f"its next attempt; attempt {state.get('a', '?')}: {reason}"
        blocker: Blocker = "parked" if status == "parked" else "retry"
        wait = Wait(
            step.id,
            status,
            blocker,
            said,
            queue=step.queue,
            until=due,
            seconds=round(max(0.0, due - self.now), 3),
        )
        return wait if due > self.now else self._without_workers(wait)

    def _queued(self, step: str, queue: str, what: str) -> Wait:
        listeners, length = self.fleet.listeners.get(queue, 0), self.fleet.lengths.get(queue, 0)
        if listeners:
            workers = "1 worker takes" if listeners == 1 else f"{listeners} workers take"
            says = f"{what} is in queue {queue!r}, of {length} that wait there; {workers} from it"
            return Wait(step, "waiting", "queue", says, queue=queue)
        says = f"{what} is in queue {queue!r}, and no worker takes from that"
        return Wait(step, "waiting", "no_worker", says, queue=queue)

    def _without_workers(self, wait: Wait) -> Wait:
        """What is due is started by some worker, if there is one."""
        if any(self.fleet.listeners.values()):
            return wait
        return Wait(**{**asdict(wait), "says": f"{wait.says}; no worker is alive to do so"})


def _renewed(
    client: RedisClient, keys: Keys, run: str, states: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    running = {step: state["f"] for step, state in states.items() if state.get("s") == "running"}
    if not running:
        return {}
    scores = client.zmscore(keys.claims, [f"{run}\t{step}\t{fence}" for step, fence in running.items()])
    return {step: score for step, score in zip(running, scores, strict=True) if score is not None}


def _reasons(client: RedisClient, events: str, states: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The newest reason of each step that was put off, read from the end of the events."""
    wanted = {step for step, state in states.items() if state.get("s") in ("parked", "retrying")}
    found: dict[str, str] = {}
    newest = "+"
    while wanted - found.keys():
        entries = client.xrevrange(events, max=newest, count=_EVENTS_AT_ONCE)
        for _, entry in entries:
            if entry["type"] in ("step.parked", "step.retrying") and entry["step"] in wanted:
                found.setdefault(entry["step"], entry.get("reason", ""))
        if len(entries) < _EVENTS_AT_ONCE:
            break
        newest = f"({entries[-1][0]}"
    return found
