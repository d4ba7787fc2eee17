"""What does a run of a real workflow cost, and what takes how much off that?

The workflows of a real project (CF_WORKERS_TEST_PROJECT, or one beside the checkout) are run several times with
different tasks against the stand-in, whose prompt-cache and batch accounting follows the provider's rules. Costs
are those of the run records: the usage that the stand-in reports, at the real prices.

    python benchmarks/economy.py [--quick]
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from figures import Finding, Table
from support import ROOT, Child, Report, Stack, main, progress

from cf_workers.client import Client
from cf_workers.planning import WorkflowOptions

PROJECT = Path(os.environ.get("CF_WORKERS_TEST_PROJECT", ROOT.parent / "shared/data/claude-force-project"))
REPLY_TOKENS = 800
"""Of each reply: some six hundred words. The longer the answers, the less the prompt matters."""
REPEATS = 0.3
PATIENCE = 900.0
AIM = 0.25
WIDTH = 50
FANNED = ("first", "second", "third")
"""Agents, each with a prompt of its own."""
FIRST_TOKEN = 1.0
"""Seconds until a reply begins."""
BATCHES = {
    "CF_WORKERS_BATCHES__LINGER_SECONDS": "1",
    "CF_WORKERS_BATCHES__POLL_SECONDS": "1",
    "CF_WORKERS_BATCHES__BUSY_SECONDS": "1",
}
"""Waits that are minutes in production, shortened."""


@dataclass(frozen=True)
class Bill:
    """What the runs of one workflow cost, in US dollars.

    Args:
        plain: the same tokens without any of them written to or read from the provider's prompt cache.
    """

    paid: float
    plain: float
    runs: int

    @property
    def per_run(self) -> float:
        return self.paid / self.runs


def measure(quick: bool) -> Report:
    config = PROJECT / ".claude" / "claude.json"
    if not config.is_file():
        raise SystemExit(f"no project at {PROJECT}: name one with CF_WORKERS_TEST_PROJECT")
    runs = 20 if quick else 40
    with Stack(latency=0.2, reply_tokens=REPLY_TOKENS, batch_seconds=1) as stack:
        stack.config = config
        with stack.client(0) as client:
            names = client.project.workflow_names[:: 4 if quick else 1]
        cached = bills(stack, 0, names, runs, cache=False)
        repeated = bills(stack, 1, names, runs, cache=True)
        batched = bills(stack, 2, names, runs, cache=False, lane="batch")
        together = bills(stack, 3, names, runs, cache=True, lane="batch")
    found = report(names, cached, repeated, batched, together, runs=runs)
    return replace(found, findings=[*found.findings, *fan_findings(*fans())])


@dataclass(frozen=True)
class Fan:
    """One fan-out over one agent: its calls by what they did with the prompt cache, and its time.

    Args:
        first_token: seconds until the reply began for which the others waited, as the worker measured them;
            not a number where nobody waited.
    """

    writes: int
    reads: int
    seconds: float
    paid: float
    first_token: float


def fans() -> tuple[list[Fan], list[Fan]]:
    """Fifty calls of an agent of ten thousand tokens at once: with one going first, and without; for each prompt."""
    with Stack(latency=3 * FIRST_TOKEN, time_to_first_token=FIRST_TOKEN) as stack:
        folder = stack.home / "fan" / ".claude"
        folder.mkdir(parents=True)
        for agent in FANNED:
            text = f"You are {agent}. You look at every line of it, twice, and say why.\n" * 600
            (folder / f"{agent}.md").write_text(text)
        stack.config = folder / "claude.json"
        agents = {agent: {"file": f"{agent}.md"} for agent in FANNED}
        stack.config.write_text(json.dumps({"agents": agents, "workflows": {}}))
        return fan_each(stack, 0, warm=True), fan_each(stack, 1, warm=False)


def fan_each(stack: Stack, database: int, *, warm: bool) -> list[Fan]:
    settings = {"CF_WORKERS_PROMPT_CACHE__WARM_FIRST": str(warm).lower()}
    worker = stack.start_worker(
        "--loglevel=INFO", threads=100, database=database, name=f"fan{database}", settings=settings
    )
    stack.wait_for_worker(worker, database)
    found = [fan(stack, database, worker, agent) for agent in FANNED]
    worker.end()
    return found


def fan(stack: Stack, database: int, worker: Child, agent: str) -> Fan:
    stack.control.reset()
    steps = [{"id": f"s{n}", "agent": agent, "task": f"Part {n} of {uuid4().hex}"} for n in range(WIDTH)]
    with stack.client(database) as client:
        result = client.start_workflow({"name": "fan", "steps": steps}).result(timeout=PATIENCE)
    usages = [call.usage for call in stack.control.requests() if call.path == "/v1/messages"]
    words = re.findall(r"prefix\.begun .*seconds=([\d.]+)", worker.said())
    return Fan(
        writes=sum(usage["cache_creation_input_tokens"] > 0 for usage in usages),
        reads=sum(usage["cache_read_input_tokens"] > 0 for usage in usages),
        seconds=result.total_time_seconds,
        paid=result.document["estimated_cost"],
        first_token=float(words[-1]) if words else nan,
    )


def fan_findings(warm: Sequence[Fan], cold: Sequence[Fan]) -> list[Finding]:
    def calls(fans: Sequence[Fan]) -> str:
        return ", ".join(dict.fromkeys(f"{fan.writes} + {fan.reads}" for fan in fans))

    at_once = median(fan.seconds for fan in cold)
    added = median(fan.seconds for fan in warm) - at_once
    first_token = median(fan.first_token for fan in warm)
    ratio = sum(fan.paid for fan in warm) / sum(fan.paid for fan in cold)
    return [
        Finding(
            f"fan-out of {WIDTH} over one agent: writes + reads of its prompt, one going first",
            f"1 + {WIDTH - 1}",
            calls(warm),
            calls(warm) == f"1 + {WIDTH - 1}",
        ),
        Finding("- the same at once", f"{WIDTH} + 0", calls(cold), calls(cold) == f"{WIDTH} + 0"),
        Finding("- dollars, one going first / at once", "", f"{ratio:.3f}"),
        Finding(
            f"- added to the time of the run, medians of {len(FANNED)}",
            f"<= one time to first token, {first_token:.3f} s as the worker measured it",
            f"{added:.3f} s of {at_once:.2f} s",
            added <= first_token,
        ),
    ]


def bills(
    stack: Stack, database: int, names: Sequence[str], runs: int, *, cache: bool, lane: str = "interactive"
) -> dict[str, Bill]:
    """Run each workflow so many times; with the cache, the last 30 % of the tasks repeat earlier ones."""
    stack.control.reset()
    settings = {
        **BATCHES,
        "CF_WORKERS_CACHE__ENABLED": str(cache).lower(),
        "CF_WORKERS_PROMPT_CACHE__WARM_FIRST": "true",
    }
    worker = stack.start_worker(threads=100, database=database, name=f"w{database}", settings=settings)
    stack.wait_for_worker(worker, database)
    began = time.monotonic()
    with stack.client(database) as client:
        new = runs - (round(runs * REPEATS) if cache else 0)
        found = paid_for(client, names, [f"number {n}" for n in range(new)], lane)
        if cache:
            again = paid_for(client, names, [f"number {n}" for n in range(runs - new)], lane)
            found = {name: [*found[name], *again[name]] for name in names}
    worker.end()
    progress(f"{lane}, cache {'on' if cache else 'off'}: {time.monotonic() - began:.0f} s")
    return {name: bill_of(documents) for name, documents in found.items()}


def paid_for(client: Client, names: Sequence[str], tasks: Sequence[str], lane: Any) -> dict[str, list[Any]]:
    options = WorkflowOptions(lane=lane)
    started = {
        name: [
            client.start_workflow(name, f"Do the work of {name}: {task}", options=options) for task in tasks
        ]
        for name in names
    }
    results = {name: [run.result(timeout=PATIENCE) for run in runs] for name, runs in started.items()}
    for name, ended in results.items():
        if not all(one.success for one in ended):
            raise RuntimeError(f"a run of {name} did not succeed")
    return {name: [one.document for one in ended] for name, ended in results.items()}


def bill_of(documents: Sequence[dict[str, Any]]) -> Bill:
    paid = sum(one["estimated_cost"] for one in documents)
    saved = sum(one["prompt_cache_saved_cost"] for one in documents)
    return Bill(paid, paid + saved, len(documents))


def report(
    names: Sequence[str],
    cached: dict[str, Bill],
    repeated: dict[str, Bill],
    batched: dict[str, Bill],
    together: dict[str, Bill],
    *,
    runs: int,
) -> Report:
    def total(bills: dict[str, Bill], kind: str) -> float:
        return sum(getattr(bill, kind) for bill in bills.values())

    baseline = total(cached, "plain")
    factors = [
        ("prompt caching alone", total(cached, "paid") / baseline),
        ("response cache alone, 30 % repeated tasks", total(repeated, "plain") / baseline),
        ("batch lane alone", total(batched, "plain") / baseline),
    ]
    all_ = total(together, "paid") / baseline
    findings = [Finding(f"{what}: dollars / baseline", "", f"{ratio:.3f}") for what, ratio in factors]
    findings.append(
        Finding("all together: dollars / baseline", f"<= {AIM}", f"{all_:.3f}", all_ <= AIM),
    )
    rows = [
        (
            name,
            f"{cached[name].plain / cached[name].runs:.4f}",
            f"{cached[name].per_run:.4f}",
            f"{repeated[name].plain / repeated[name].runs:.4f}",
            f"{batched[name].plain / batched[name].runs:.4f}",
            f"{together[name].per_run:.4f}",
        )
        for name in names
    ]
    head = ("workflow", "baseline", "prompt caching", "response cache", "batch lane", "all")
    notes = [
        f"{runs} runs of each workflow at once, {REPLY_TOKENS} tokens a reply; prices of today. Baseline, response "
        "cache and batch lane are the usage of their own runs priced without prompt caching.",
        "The stand-in serves every batch row that shares a prefix from the prompt cache once it is readable; "
        "the provider calls that best effort.",
    ]
    return Report("python benchmarks/economy.py", findings, [Table("Dollars a run", head, rows)], notes)


if __name__ == "__main__":
    main(measure)
