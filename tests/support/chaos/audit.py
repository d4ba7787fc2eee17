"""Did everything happen, and happen once? What the provider saw against what the records say."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from cf_workers import Client
from cf_workers.simulator.ask import Ask, parsed
from cf_workers.simulator.journal import RequestRecord
from cf_workers.simulator.replies import compose
from tests.support.stack import Stack

CUT_BY_PROVIDER = {"stream_cut", "stream_end", "stream_error"}
TIMED_OUT = "not answered within"
TASK = re.compile(r"^chaos-\d+ [a-g]$", re.MULTILINE)
DRAINS = ("claims", "due", "parked", "active")
CLOCK_GRAIN_SECONDS = 0.005


@dataclass
class Audit:
    """What was counted, and everything that is wrong.

    Args:
        exposed: claims held by workers when they were killed or frozen.
    """

    exposed: int
    figures: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def check(self, fine: bool, otherwise: str) -> None:
        if not fine:
            self.wrong.append(otherwise)


@dataclass(frozen=True)
class Seen:
    """One call as the provider saw it."""

    record: RequestRecord
    ask: Ask

    @property
    def paid(self) -> bool:
        """Its answer had begun, so it is billed."""
        return bool(self.record.usage)


def audit(stack: Stack, client: Client, runs: list[str], *, exposed: int, cached: bool) -> Audit:
    """Compare; everything must have ended.

    Args:
        cached: the response cache is on, and runs share their tasks; else each task is that of one step.
    """
    found = Audit(exposed)
    documents = [client.history.document(run) for run in runs]
    events = {run: client.history.events(run) for run in runs}
    calls = _calls(stack)
    _check_runs(found, documents)
    _check_events(found, events, documents)
    _check_outputs(found, documents, calls)
    if not cached:
        _check_order(found, documents, calls)
        _check_no_call_is_unaccounted(found, stack, documents, calls)
    _check_lost(found, stack, documents, events, calls, cached=cached)
    _check_rest(found, stack)
    return found


def _calls(stack: Stack) -> dict[str, list[Seen]]:
    """The calls by their task."""
    found: dict[str, list[Seen]] = defaultdict(list)
    for record in stack.calls():
        ask = parsed((record.body or "").encode())
        (task,) = set(TASK.findall(ask.user_text))
        found[task].append(Seen(record, ask))
    return found


def _check_runs(found: Audit, documents: list[dict[str, Any]]) -> None:
    by_status = Counter(document["status"] for document in documents)
    steps = [step for document in documents for step in document["results"].values()]
    found.figures["runs by status"] = dict(by_status)
    found.figures["steps succeeded"] = sum(step["status"] == "succeeded" for step in steps)
    for document in documents:
        bad = {
            name: (s["status"], s["error"])
            for name, s in document["results"].items()
            if s["status"] != "succeeded"
        }
        found.check(
            document["status"] == "succeeded" and not bad,
            f"run {document['run_id']} ended as {document['status']}: {bad}",
        )
        order = document["execution_order"]
        found.check(
            sorted(order) == sorted(document["results"]), f"run {document['run_id']}: steps ended as {order}"
        )


def _check_events(found: Audit, events: dict[str, list[Any]], documents: list[dict[str, Any]]) -> None:
    kinds: Counter[str] = Counter()
    for document in documents:
        run = document["run_id"]
        kinds.update(event.type for event in events[run])
        ends = Counter(event.step for event in events[run] if event.type == "step.succeeded")
        found.check(
            set(ends) == set(document["results"]) and set(ends.values()) == {1},
            f"run {run}: step.succeeded {dict(ends)}",
        )
        finished = sum(event.type == "run.finished" for event in events[run])
        found.check(finished == 1, f"run {run}: {finished} x run.finished")
    found.figures["events"] = dict(sorted(kinds.items()))
    found.figures["parked because"] = dict(
        Counter(e.data["reason"] for each in events.values() for e in each if e.type == "step.parked")
    )


def _task_of(document: dict[str, Any], calls: dict[str, list[Seen]], step: str) -> list[Seen]:
    return calls.get(f"{document['workflow_name']} {step}", [])


def _check_outputs(found: Audit, documents: list[dict[str, Any]], calls: dict[str, list[Seen]]) -> None:
    """Each output is the provider's one possible answer to a call that showed the outputs before it."""
    for document in documents:
        for name, step in document["results"].items():
            seen = _task_of(document, calls, name)
            place = f"run {document['run_id']} step {name}"
            bodies = {one.record.body_sha256 for one in seen}
            found.check(len(bodies) == 1, f"{place}: {len(bodies)} different requests")
            if not seen:
                continue
            expected = "".join(block.get("text", "") for block in compose(seen[0].ask).content)
            found.check(step["output"] == expected, f"{place}: its output is not what the provider answers")
            for dependency in step["dependencies"]:
                shown = document["results"][dependency]["output"] or "?"
                found.check(
                    shown in seen[0].ask.user_text, f"{place}: was not shown the output of {dependency}"
                )


def _check_order(found: Audit, documents: list[dict[str, Any]], calls: dict[str, list[Seen]]) -> None:
    for document in documents:
        for name, step in document["results"].items():
            began = min((one.record.received_at for one in _task_of(document, calls, name)), default=None)
            for dependency in step["dependencies"]:
                ended = document["results"][dependency]["finished_at"]
                found.check(
                    began is not None and ended is not None and began >= ended - CLOCK_GRAIN_SECONDS,
                    f"run {document['run_id']}: {name} was asked before {dependency} had ended",
                )


def _check_no_call_is_unaccounted(
    found: Audit, stack: Stack, documents: list[dict[str, Any]], calls: dict[str, list[Seen]]
) -> None:
    """The record knows of each call: as an attempt, as a probe of the breaker, or as lost with a worker."""
    for document in documents:
        with stack.redis() as client:
            states = client.hgetall(f"cfw:run:{{{document['run_id']}}}:steps")
        for name, step in document["results"].items():
            asked = len(_task_of(document, calls, name))
            probes = json.loads(states[name]).get("p", 0)
            found.check(
                asked <= step["attempts"] + step["deaths"] + probes,
                f"run {document['run_id']} step {name}: {asked} calls, {step['attempts']} attempts, "
                f"{step['deaths']} deaths and {probes} probes recorded",
            )


def _check_lost(
    found: Audit,
    stack: Stack,
    documents: list[dict[str, Any]],
    events: dict[str, list[Any]],
    calls: dict[str, list[Seen]],
    *,
    cached: bool,
) -> None:
    """What was billed and came to nothing is known to our counter, and bounded by what was hurt."""
    every = [one for seen in calls.values() for one in seen]
    paid = sum(one.paid for one in every)
    cut = sum(one.paid and one.record.fault in CUT_BY_PROVIDER for one in every)
    steps = [step for document in documents for step in document["results"].values()]
    used = sum(step["status"] == "succeeded" and not step["cached"] for step in steps)
    hung = sum(one.record.fault == "hang" for one in every)
    timed_out = sum(
        TIMED_OUT in event.data.get("reason", "") for happened in events.values() for event in happened
    )
    slow = max(0, timed_out - hung)
    by_us = paid - used - cut - slow
    deaths = sum(step["deaths"] for step in steps)
    counted = sum(document["lost_calls"] for document in documents)
    with stack.redis() as client:
        total = int(client.hget("cfw:counters", "lost_calls") or 0)
    found.figures |= {
        "requests at the provider": len(every),
        "of these with a fault": sum(one.record.fault is not None for one in every),
        "calls billed": paid,
        "of these committed": used,
        "of these cut by the provider": cut,
        "calls that timed out without a fault of the provider": slow,
        "billed and lost with a worker": by_us,
        "claims held at kills and freezes": found.exposed,
        "deaths recorded": deaths,
        "lost_calls, our counter": total,
        "answers from the cache": sum(bool(step["cached"]) for step in steps),
    }
    found.check(total == counted, f"lost_calls: the total says {total}, the runs say {counted}")
    found.check(paid - used <= total, f"{paid - used} calls were billed and lost, our counter says {total}")
    found.check(
        by_us <= found.exposed, f"{by_us} calls were lost with workers that worked on {found.exposed}"
    )
    found.check(
        deaths <= found.exposed, f"{deaths} deaths are recorded under {found.exposed} claims that were hurt"
    )


def _check_rest(found: Audit, stack: Stack) -> None:
    """Nothing is left over."""
    from tests.support.keys import PERMANENT_KEYS, leaked_keys

    with stack.redis() as client:
        for name in DRAINS:
            left = client.zcard(f"cfw:{name}")
            found.check(left == 0, f"{left} entries are left in {name}: {client.zrange(f'cfw:{name}', 0, 4)}")
        leaked = leaked_keys(client, PERMANENT_KEYS)
    found.check(not leaked, f"keys without a TTL: {leaked}")
    found.check(stack.messages_left() == 0, f"{stack.messages_left()} messages are left")
