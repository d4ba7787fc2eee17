"""Is a workflow faster in parallel, do more calls get through, and do they succeed?

What users of the predecessor were promised, measured as they would see it: from submitting to having the
result, every task unique, nothing answered from a cache, all calls counted at the stand-in. Three agents
that do not depend on each other take lognormal times; run one after the other they take the sum, run in
parallel the longest of the three, which bounds what parallelism alone can save.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from figures import Finding, Table, mean, median, percentile, saving
from graphs import MEDIAN_SECONDS, SIGMA, lognormal
from support import AGENT, Report, Stack, main, progress

from cf_workers.client import Client
from cf_workers.errors import CfWorkersError
from cf_workers.planning import WorkflowOptions

T = TypeVar("T")

SEED = 20_251
WORKFLOWS_AT_ONCE = 3
AT_ONCE = 10
"""Calls at once; the predecessor's own limit of calls in one process."""
FAULTS = (("529", 0.05), ("500", 0.02), ("429", 0.02), ("reset", 0.01))
WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Group:
    """Seconds of several executions, and how many of them succeeded."""

    seconds: Sequence[float]
    succeeded: int
    wall: float
    requests: int

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.wall


def measure(quick: bool) -> Report:
    """Workflows in parallel and in sequence, calls one by one and at once, and with faults."""
    runs, calls, faulty = (9, 10, 100) if quick else (30, 20, 400)
    rng = random.Random(SEED)
    equal = [[MEDIAN_SECONDS] * 3 for _ in range(runs)]
    uneven = [[lognormal(rng) for _ in range(3)] for _ in range(runs)]
    times = [lognormal(rng) for _ in range(calls)]
    with Stack() as stack, stack.client() as client, stack.worker():
        pairs = [_pair(stack, client, triples) for triples in (equal, uneven)]
        progress("workflows done")
        one_by_one = _group(stack, [_call(client, seconds) for seconds in times], 1)
        at_once = _group(stack, [_call(client, seconds) for seconds in times * 5], AT_ONCE)
        progress("calls done")
        stack.control.configure(faults=[{"fault": name, "rate": rate} for name, rate in FAULTS])
        disturbed = _group(stack, [_call(client, 0.2) for _ in range(faulty)], 100)
    return Report(
        f"benchmarks/workflow_speed.py{' --quick' if quick else ''}",
        _findings(pairs, one_by_one, at_once, disturbed),
        [
            _table(
                {
                    "3 equal agents, sequential": pairs[0].sequential,
                    "3 equal agents, parallel": pairs[0].parallel,
                    "3 uneven agents, sequential": pairs[1].sequential,
                    "3 uneven agents, parallel": pairs[1].parallel,
                    "calls one by one": one_by_one,
                    f"calls, {AT_ONCE} at once": at_once,
                    f"calls of 0.2 s, 100 at once, {_fault_rate():.0%} of requests disturbed": disturbed,
                }
            )
        ],
        [
            f"Uneven: lognormal, median {MEDIAN_SECONDS} s, sigma {SIGMA}, seed {SEED}; equal: "
            f"{MEDIAN_SECONDS} s. Both sides of a comparison have the same. The bound is what they allow any "
            f"scheduler. {WORKFLOWS_AT_ONCE} workflows run at once on one worker of 100 threads.",
            "Disturbed: "
            + ", ".join(f"{rate:.0%} {name}" for name, rate in FAULTS)
            + ", at random; retries wait as they do in production.",
        ],
    )


@dataclass(frozen=True)
class Pair:
    """The same workflows in sequence and in parallel.

    Args:
        bound: the share of the time that parallelism can save at best, given the step times.
    """

    sequential: Group
    parallel: Group
    bound: float

    @property
    def saved(self) -> float:
        return saving(mean(self.parallel.seconds), mean(self.sequential.seconds))


def _pair(stack: Stack, client: Client, triples: Sequence[Sequence[float]]) -> Pair:
    return Pair(
        _group(stack, [_run(client, each, sequential=True) for each in triples], WORKFLOWS_AT_ONCE),
        _group(stack, [_run(client, each, sequential=False) for each in triples], WORKFLOWS_AT_ONCE),
        saving(sum(map(max, triples)), sum(map(sum, triples))),
    )


def _run(client: Client, seconds: Sequence[float], *, sequential: bool) -> Callable[[], bool]:
    mark = uuid4().hex
    steps = [
        {"id": f"agent-{n}", "agent": AGENT, "task": f"Look into {mark} {n} [[sim latency={each}]]"}
        for n, each in enumerate(seconds)
    ]
    workflow = {"name": "three-agents", "steps": steps}

    def do() -> bool:
        options = WorkflowOptions(sequential=sequential)
        return client.start_workflow(workflow, options=options).result(timeout=WAIT_SECONDS).success

    return do


def _call(client: Client, seconds: float) -> Callable[[], bool]:
    task = f"Look into {uuid4().hex} [[sim latency={seconds}]]"

    def do() -> bool:
        try:
            return bool(client.submit(AGENT, task).result(timeout=WAIT_SECONDS).output)
        except CfWorkersError:
            return False

    return do


def _group(stack: Stack, work: Sequence[Callable[[], bool]], at_once: int) -> Group:
    def timed(do: Callable[[], bool]) -> tuple[float, bool]:
        began = time.perf_counter()
        success = do()
        return time.perf_counter() - began, success

    before = stack.control.stats().requests
    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        outcomes = list(pool.map(timed, work))
    wall = time.perf_counter() - began
    requests = stack.control.stats().requests - before
    return Group([seconds for seconds, _ in outcomes], sum(good for _, good in outcomes), wall, requests)


def _findings(pairs: Sequence[Pair], one_by_one: Group, at_once: Group, disturbed: Group) -> list[Finding]:
    equal, uneven = pairs
    gain = at_once.rate / one_by_one.rate
    success = disturbed.succeeded / len(disturbed.seconds)
    undisturbed = [one_by_one, at_once, *(g for p in pairs for g in (p.sequential, p.parallel))]
    good, all_of = sum(g.succeeded for g in undisturbed), sum(len(g.seconds) for g in undisturbed)
    return [
        Finding(
            f"3 agents of equal length, parallel against sequential (bound -{equal.bound:.0%})",
            "-50 ... -80 %",
            f"-{equal.saved:.0%}",
            equal.saved >= 0.5,
        ),
        Finding(
            f"3 agents of uneven length, parallel against sequential (bound -{uneven.bound:.0%})",
            "",
            f"-{uneven.saved:.0%}",
        ),
        Finding(
            f"throughput, {AT_ONCE} calls at once against one by one",
            "2 ... 5 x",
            f"{gain:.1f} x ({at_once.rate:.1f} / {one_by_one.rate:.1f} a second)",
            gain >= 2,
        ),
        Finding(
            "executions that succeed, nothing disturbed",
            "> 95 %",
            f"{good} of {all_of}",
            good / all_of > 0.95,
        ),
        Finding(
            f"executions that succeed, {_fault_rate():.0%} of requests disturbed",
            "> 95 %",
            f"{success:.1%} ({disturbed.requests} requests for {len(disturbed.seconds)})",
            success > 0.95,
        ),
        Finding(
            "3 uneven agents, parallel, submit to result, p50 / P95",
            "",
            f"{median(uneven.parallel.seconds):.2f} / {percentile(uneven.parallel.seconds, 95):.2f} s",
        ),
    ]


def _fault_rate() -> float:
    return sum(rate for _, rate in FAULTS)


def _table(groups: dict[str, Group]) -> Table:
    rows = [
        (
            name,
            str(len(group.seconds)),
            str(group.requests),
            str(group.succeeded),
            f"{mean(group.seconds):.2f} s",
            f"{percentile(group.seconds, 50):.2f} s",
            f"{percentile(group.seconds, 95):.2f} s",
            f"{group.rate:.1f}",
        )
        for name, group in groups.items()
    ]
    head = ("what", "executions", "requests", "succeeded", "mean", "p50", "p95", "a second")
    return Table("Submit to result", head, rows)


if __name__ == "__main__":
    main(measure)
