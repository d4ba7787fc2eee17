"""Is a nightly workflow in the batch lane paid once a row, at half the price, whatever is killed meanwhile?

One run of a thousand independent steps. A tenth of the rows expires and is sent again, the answer to one
submission is lost, and worker and beat are killed (SIGKILL) right after the first submission, while the batches are
under way, and while their results come in. Rows are counted in the log of the stand-in.

    python benchmarks/batch_lane.py [--quick]
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from figures import Finding, Table
from support import AGENT, Child, Report, Stack, main, progress

from cf_workers._redis import connect
from cf_workers.agents.definition import Usage
from cf_workers.agents.prices import cost_usd
from cf_workers.agents.reply import usage_of
from cf_workers.client import Client
from cf_workers.planning import WorkflowOptions
from cf_workers.simulator import ScriptedFault
from cf_workers.simulator.journal import RowRecord

BATCHES = "/v1/messages/batches"
PATIENCE = 300.0
WATCH_SECONDS = 5.0
SETTINGS = {
    "CF_WORKERS_BATCHES__LINGER_SECONDS": "2",
    "CF_WORKERS_BATCHES__POLL_SECONDS": "1",
    "CF_WORKERS_BATCHES__BUSY_SECONDS": "1",
    "CF_WORKERS_BATCHES__SUBMIT_TIMEOUT_SECONDS": "20",
    "CF_WORKERS_BATCHES__SETTLE_SECONDS": "2",
    "CF_WORKERS_BATCHES__MAX_ROWS": "300",
    "CF_WORKERS_WORKER__HEARTBEAT_SECONDS": "0.5",
    "CF_WORKERS_WORKER__LEASE_SECONDS": "2",
}
"""Waits that are minutes in production, shortened; a batch lasts until it is told to end."""


@dataclass
class Night:
    """One run, what serves it, and what has been killed so far."""

    stack: Stack
    client: Client
    run: str
    worker: Child
    beat: Child
    kills: int = 0

    def __post_init__(self) -> None:
        self.redis = connect(self.stack.redis_url())

    def field(self, name: str) -> Any:
        return self.client.history.document(self.run, outputs=False)[name]

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {PATIENCE:.0f} s for {what}")
            time.sleep(0.1)

    def kill_both(self) -> None:
        """SIGKILL to worker and beat; others take their place."""
        for child in (self.worker, self.beat):
            os.kill(child.pid, signal.SIGKILL)
        self.kills += 1
        self.worker, self.beat = started(self.stack, f"w{self.kills}")
        progress(f"worker and beat killed and replaced, {self.field('steps_left')} steps left")


def measure(quick: bool) -> Report:
    steps = 200 if quick else 1000
    every_tenth = [number for number in range(steps) if number % 10 == 0]
    with Stack(batch_seconds=86_400) as stack:
        stack.control.set_faults(
            ScriptedFault("lost_reply", path=BATCHES, contains=f"POST {BATCHES}", skip=1),
            *(ScriptedFault("expired", path="batch-row", contains=text_of(n)) for n in every_tenth),
        )
        with stack.client() as client:
            began = time.monotonic()
            run = client.start_workflow(workflow(steps), options=WorkflowOptions(lane="batch")).id
            night = Night(stack, client, run, *started(stack, "w"))
            found = disturbed(night)
            seconds = time.monotonic() - began
            return report(night, steps, len(every_tenth), found=found, seconds=seconds)


def text_of(number: int) -> str:
    return f"review file {number:05} of the night"


def workflow(steps: int) -> dict[str, Any]:
    return {
        "name": "nightly",
        "steps": [
            {"id": f"s{n}", "agent": AGENT, "task": text_of(n), "cacheable": False} for n in range(steps)
        ],
    }


def started(stack: Stack, name: str) -> tuple[Child, Child]:
    worker = stack.start_worker(threads=50, name=name, settings=SETTINGS)
    stack.wait_for_worker(worker, 0)
    env = {"CF_WORKERS_REDIS_URL": stack.redis_url(), "CF_WORKERS_CONFIG": str(stack.config)}
    return worker, stack.start(f"{name}-beat", "celery", "-A", "cf_workers", "beat", env=env)


def disturbed(night: Night) -> dict[str, Any]:
    """See the run to its end, killing on the way; what was seen of slots while everything was in batches."""
    control = night.stack.control
    night.until(lambda: control.stats().by_path.get(BATCHES), "a submission")
    night.kill_both()
    night.until(lambda: night.field("steps_parked") == night.field("steps_total"), "all steps to be parked")
    night.until(lambda: unsubmitted(night) == 0, "all rows to be in batches")
    night.kill_both()
    found = watched(night)
    control.end_batches()
    night.until(lambda: night.field("steps_left") < 0.9 * night.field("steps_total"), "results to come in")
    night.kill_both()
    night.until(lambda: (control.end_batches(), night.field("status") == "succeeded")[1], "the run to end")
    night.worker.end()
    night.beat.end()
    return found


def unsubmitted(night: Night) -> int:
    """Steps that are not in a batch yet; those of a batch whose submission was not answered are."""
    return int(night.redis.zcard("cfw:batches:waiting"))


def watched(night: Night) -> dict[str, Any]:
    """What the run holds while its batches are under way, over some seconds."""
    redis = night.redis
    running, messages = [], []
    until = time.monotonic() + WATCH_SECONDS
    while time.monotonic() < until:
        running.append(night.field("steps_running"))
        messages.append(redis.llen("interactive") + redis.llen("batch"))
        time.sleep(0.1)
    return {"looks": len(running), "running": max(running), "messages": max(messages)}


def report(night: Night, steps: int, expired: int, *, found: dict[str, Any], seconds: float) -> Report:
    rows = night.stack.control.rows()
    document = night.client.history.document(night.run, outputs=False)
    paid = Counter(row.text for row in rows if row.outcome == "succeeded")
    outcomes = Counter(row.outcome for row in rows)
    once = sum(times == 1 for times in paid.values())
    dear = sum((standard_price(row) for row in rows if row.outcome == "succeeded"), Decimal(0))
    ratio = document["estimated_cost"] / float(dear)
    made = len({row.batch for row in rows})
    ended = Counter(result["status"] for result in document["results"].values())
    calls = night.stack.control.stats().by_path.get("/v1/messages", 0)
    findings = [
        Finding("rows paid exactly once", "all", f"{once} of {steps}", once == steps == len(paid)),
        Finding(
            "price of the run / standard price of the same usage",
            "0.5",
            f"{ratio:.4f}",
            abs(ratio - 0.5) < 0.001,
        ),
        Finding(
            f"slots held while all steps wait in batches ({found['looks']} looks)",
            "0",
            str(found["running"]),
            found["running"] == 0,
        ),
        Finding(
            "messages in the queues of steps meanwhile", "0", str(found["messages"]), found["messages"] == 0
        ),
        Finding(
            "rows expired, each sent again",
            f"{expired}",
            f"{outcomes['expired']}, {outcomes['succeeded']} paid in the end",
            outcomes["expired"] == expired,
        ),
        Finding("steps succeeded", "all", f"{ended['succeeded']} of {steps}", ended["succeeded"] == steps),
        Finding("calls at the full price", "0", str(calls), calls == 0),
    ]
    details = [
        ("worker and beat killed", f"{night.kills} times"),
        ("batches made, one of them without an answer", str(made)),
        ("cost of the run", f"${document['estimated_cost']:.4f}"),
        ("standard price of the same usage", f"${dear:.4f}"),
        ("calls perhaps paid and lost, by the run record", str(document["lost_calls"])),
        ("from start to end", f"{seconds:.0f} s"),
    ]
    return Report(
        "python benchmarks/batch_lane.py", findings, [Table("Details", ("what", "figure"), details)]
    )


def standard_price(row: RowRecord) -> Decimal:
    """What the same tokens would have cost in a call of their own."""
    usage: Usage = usage_of({"usage": row.usage}).model_copy(update={"service_tier": "standard"})
    cost = cost_usd(row.model, usage)
    assert cost is not None, f"no price for {row.model}"
    return cost


if __name__ == "__main__":
    main(measure)
