"""How much longer than its critical path does a run take?

Random and adversarial graphs with lognormal step times, run one after the other by a real worker process
against the stand-in for the API, which takes for each step exactly the seconds it was told. The same graphs,
in the same run, through the same worker in waves, and by plain asyncio calls of the SDK: that is a scheduler
without a queue, a record or a second process, and so the bound of what can be reached here.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from figures import Finding, Table, mean
from graphs import MEDIAN_SECONDS, SIGMA, StepGraph, fan, n_shape, ragged, random_graph, shared_join
from support import AGENT, Report, Stack, main, progress, requester

from cf_workers.client import Client

AIM = 1.03
SEED = 20_250
RESULT_SECONDS = 120.0
_MARK = re.compile(r"\[(\w[^\]]*)\] \[\[sim latency")


@dataclass(frozen=True)
class Measured:
    """One run of one graph, in seconds."""

    graph: StepGraph
    recorded: float
    seen: float

    @property
    def ratio(self) -> float:
        """From the run's creation to its end by the run record, over the critical path."""
        return self.recorded / self.graph.critical_path()

    @property
    def seen_ratio(self) -> float:
        """The same from the call that submits to the return of the call that waits."""
        return self.seen / self.graph.critical_path()


def measure(quick: bool) -> Report:
    """Run all graphs in all three ways."""
    graphs = _graphs(quick)
    with Stack(keep_bodies=True) as stack, stack.client() as client, stack.worker():
        ours = [_run(client, graph, f"ours {n}") for n, graph in enumerate(graphs)]
        expected = [f"ours {n} {step}" for n, graph in enumerate(graphs) for step in graph.dependencies]
        sent = _marks_seen(stack)
        waves = [_run(client, g.with_barriers(), f"waves {n}") for n, g in enumerate(graphs)]
        plain = asyncio.run(_all_plain(stack, client, graphs))
    return Report(
        f"benchmarks/dag_makespan.py{' --quick' if quick else ''}",
        _findings(ours, waves, plain, expected, sent),
        [_table(graphs, ours, waves, plain)],
        [
            f"Step times are lognormal, median {MEDIAN_SECONDS} s, sigma {SIGMA}, seed {SEED} (those of the "
            "two smallest graphs are fixed within 5 %); a ratio is makespan over critical path.",
            "The worker is fresh: its first run is the first line, and counts.",
        ],
    )


def _graphs(quick: bool) -> list[StepGraph]:
    rng = random.Random(SEED)
    adversarial = [n_shape(rng), shared_join(rng), ragged(rng), fan(rng)]
    return adversarial + [random_graph(rng, number) for number in range(1, 2 if quick else 7)]


def _run(client: Client, graph: StepGraph, mark: str) -> Measured:
    began = time.monotonic()
    handle = client.start_workflow(_workflow(graph, mark))
    result = handle.result(timeout=RESULT_SECONDS)
    seen = time.monotonic() - began
    if not result.success:
        raise RuntimeError(f"the run of {graph.name!r} ended as {result.status}")
    measured = Measured(graph, result.total_time_seconds, seen)
    progress(f"{graph.name}: {measured.ratio:.3f} x {graph.critical_path():.2f} s")
    return measured


def _workflow(graph: StepGraph, mark: str) -> dict[str, Any]:
    steps = [
        {
            "id": step,
            "agent": AGENT,
            "task": _task(graph, step, mark),
            "dependencies": list(graph.dependencies[step]),
        }
        for step in graph.dependencies
    ]
    return {"name": "makespan", "steps": steps}


def _task(graph: StepGraph, step: str, mark: str) -> str:
    return f"Look into [{mark} {step}] [[sim latency={graph.seconds[step]:.3f}]]"


def _marks_seen(stack: Stack) -> Counter[str]:
    """How often each step was asked for, as the stand-in logged it."""
    requests = stack.control.requests(bodies=True)
    return Counter(mark for request in requests for mark in _MARK.findall(request.body or ""))


async def _all_plain(stack: Stack, client: Client, graphs: Sequence[StepGraph]) -> list[float]:
    import anthropic

    request = requester(client)
    async with anthropic.AsyncAnthropic(
        api_key="sk-benchmark", base_url=stack.simulator_url, max_retries=0
    ) as sdk:
        await sdk.messages.create(**request("warm up", ()))
        return [
            await _plain(graph, lambda task: sdk.messages.create(**request(task, ())), f"plain {n}")
            for n, graph in enumerate(graphs)
        ]


async def _plain(graph: StepGraph, ask: Callable[[str], Any], mark: str) -> float:
    """The makespan of the graph when each step is a coroutine that awaits those it depends on."""
    running: dict[str, asyncio.Task[None]] = {}

    async def step(name: str) -> None:
        if dependencies := [running[before] for before in graph.dependencies[name]]:
            await asyncio.gather(*dependencies)
        await ask(_task(graph, name, mark))

    began = time.monotonic()
    for name in graph.dependencies:
        running[name] = asyncio.create_task(step(name))
    await asyncio.gather(*running.values())
    return time.monotonic() - began


def _findings(
    ours: Sequence[Measured],
    waves: Sequence[Measured],
    plain: Sequence[float],
    expected: Sequence[str],
    sent: Counter[str],
) -> list[Finding]:
    ratio = mean([m.ratio for m in ours])
    seen = mean([m.seen_ratio for m in ours])
    in_waves = mean([w.recorded / m.graph.critical_path() for m, w in zip(ours, waves, strict=True)])
    bound = mean([p / m.graph.critical_path() for m, p in zip(ours, plain, strict=True)])
    once = sent == Counter(expected)
    return [
        Finding(
            f"makespan / critical path, mean of {len(ours)} graphs, by the run record",
            f"<= {AIM}",
            f"{ratio:.3f}",
            ratio <= AIM,
        ),
        Finding("the same, from submitting to having the result", "", f"{seen:.3f}"),
        Finding("the first run of the fresh worker alone", "", f"{ours[0].ratio:.3f}"),
        Finding("the worst graph", "", f"{max(m.ratio for m in ours):.3f}"),
        Finding("the same graphs in waves", "", f"{in_waves:.3f}"),
        Finding("the same graphs by plain asyncio (bound)", "", f"{bound:.3f}"),
        Finding(
            "steps asked of the API exactly once",
            "all",
            f"{sum(sent[mark] == 1 for mark in expected)} of {len(expected)}, {sent.total()} requests",
            once,
        ),
    ]


def _table(
    graphs: Sequence[StepGraph], ours: Sequence[Measured], waves: Sequence[Measured], plain: Sequence[float]
) -> Table:
    rows = [
        (
            graph.name,
            str(len(graph.dependencies)),
            f"{graph.critical_path():.2f} s",
            f"{run.ratio:.3f}",
            f"{run.seen_ratio:.3f}",
            f"{wave.recorded / graph.critical_path():.3f}",
            f"{bound / graph.critical_path():.3f}",
        )
        for graph, run, wave, bound in zip(graphs, ours, waves, plain, strict=True)
    ]
    head = ("graph", "steps", "critical path", "ours", "seen by the client", "in waves", "plain asyncio")
    return Table("Makespan over critical path", head, rows)


if __name__ == "__main__":
    main(measure)
