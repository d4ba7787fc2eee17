"""What does a step cost when the model costs nothing?

Graphs of steps that are answered at once: milliseconds of wall time a step, beside `sketch.py`, the bare
release mechanism without record, claims, commit or model, in the same run and in turns. A step of ours holds
one call of the SDK to the stand-in; so the sketch is measured with such a call in each step as well. Also:
does a message grow with the graph, and how long does it take to submit ten thousand steps?
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import redis
import sketch
from figures import Finding, Table, median, percentile
from graphs import StepGraph, chain, fan_in, fan_out
from support import AGENT, Report, Stack, main, progress, requester

from cf_workers.client import Client

AIM = 1.5
SUBMIT_AIM_SECONDS = 2.0
OURS, PEER, NOBODY = 0, 1, 2
"""Databases of the server: one with our worker, one with the sketch's, one without any."""
QUEUE = "interactive"
MESSAGE_SIZES = (10, 100, 1_000, 10_000)
RESULT_SECONDS = 120.0


@dataclass(frozen=True)
class Compared:
    """Milliseconds a step of one shape, one value a round."""

    graph: StepGraph
    ours: Sequence[float]
    peer: Sequence[float]
    peer_calling: Sequence[float]
    """The sketch with a call of the SDK in each step."""


def measure(quick: bool) -> Report:
    """Take turns with the sketch, then look at messages and submissions."""
    steps, rounds = (100, 3) if quick else (200, 7)
    shapes = [chain(steps), fan_out(steps), fan_in(steps)]
    with Stack() as stack, stack.client() as client:
        bare = _bare_calls(stack, client, 50 if quick else 300)
        request = requester(client)("Look into it")
        peer = stack.sketch_worker(threads=100, database=PEER, request=request)
        with stack.worker(database=OURS), peer:
            sketch.connect(stack.redis_url(PEER))
            compared = [_compare(client, graph, rounds) for graph in shapes]
        messages = _message_bytes(stack, MESSAGE_SIZES[:3] if quick else MESSAGE_SIZES)
        submitted = _submissions(stack, 1_000 if quick else 10_000)
    return Report(
        f"benchmarks/overhead.py{' --quick' if quick else ''}",
        _findings(compared, bare, messages, submitted),
        [_table(compared), _message_table(messages)],
        [
            f"Medians of {rounds} rounds in which all took turns; {steps} steps and 100 threads each; after "
            "one round that does not count; from the call that submits to the end of the run. The worker "
            "keeps a record and sends Celery's task events as well, which the sketch does not.",
        ],
    )


def _compare(client: Client, graph: StepGraph, rounds: int) -> Compared:
    took = [
        (_ours(client, graph), _peers(graph, calls=False), _peers(graph, calls=True))
        for _ in range(rounds + 1)
    ][1:]  # the first round fills caches and opens connections
    ours, peer, calling = (
        [1000 * s / len(graph.dependencies) for s in side] for side in zip(*took, strict=True)
    )
    progress(
        f"{graph.name}: {median(ours):.2f} ms a step, sketch {median(peer):.2f}, with a call {median(calling):.2f}"
    )
    return Compared(graph, ours, peer, calling)


def _ours(client: Client, graph: StepGraph) -> float:
    began = time.time()
    result = client.start_workflow(workflow_of(graph)).result(timeout=RESULT_SECONDS)
    if not result.success:
        raise RuntimeError(f"the run of {graph.name!r} ended as {result.status}")
    return float(result.document["finished_at"]) - began


def _peers(graph: StepGraph, *, calls: bool) -> float:
    began = time.time()
    return sketch.wait(sketch.start(graph.dependencies, calls=calls)) - began


def workflow_of(graph: StepGraph) -> dict[str, Any]:
    """The graph as a workflow whose tasks nobody has asked before."""
    mark = uuid4().hex
    steps = [
        {"id": step, "agent": AGENT, "task": f"Look into {mark} {step}", "dependencies": list(before)}
        for step, before in graph.dependencies.items()
    ]
    return {"name": graph.name.replace(" ", "-"), "steps": steps}


def _bare_calls(stack: Stack, client: Client, calls: int) -> list[float]:
    """Milliseconds of one call of the SDK after the other, with what a step sends."""
    import anthropic

    request = requester(client)
    with anthropic.Anthropic(api_key="sk-benchmark", base_url=stack.simulator_url, max_retries=0) as sdk:
        return [
            1000 * _timed(lambda n=number: sdk.messages.create(**request(f"Look into {n}", ())))
            for number in range(calls + 10)
        ][10:]


def _timed(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def _message_bytes(stack: Stack, sizes: Sequence[int]) -> Mapping[int, Sequence[int]]:
    """Bytes of the messages that start a step: as a root, as one of a fan-out, and as a join.

    They are published to a database that no worker reads, the later ones by the very call with which a
    worker releases what a finished step made ready.
    """
    found: dict[int, list[int]] = {}
    for size in sizes:
        with stack.client(NOBODY) as client, redis.Redis.from_url(stack.redis_url(NOBODY)) as server:
            server.flushdb()
            run = client.start_workflow(workflow_of(_diamond_and_chain(size))).id
            launcher, store = client._launcher, client._store
            header = store.header(run, 1)
            for step in ("s00000", "s00001", "s00002"):
                launcher.release(header, step)
            found[size] = [len(message) for message in server.lrange(QUEUE, 0, -1)]
    return found


def _diamond_and_chain(steps: int) -> StepGraph:
    """One step, two at once, their join, and a chain behind it; ids of one length."""
    names = [f"s{number:05}" for number in range(steps)]
    edges: dict[str, tuple[str, ...]] = {name: (names[n - 1],) if n else () for n, name in enumerate(names)}
    edges[names[2]], edges[names[3]] = (names[0],), (names[1], names[2])
    return StepGraph("diamond", edges, dict.fromkeys(names, 0.0))


def _submissions(stack: Stack, steps: int) -> Mapping[str, float]:
    """Seconds of the call that submits a run, for graphs of three shapes; no worker disturbs it."""
    seconds = {}
    for graph in (chain(steps), fan_out(steps), fan_in(steps)):
        with stack.client(NOBODY) as client:
            client.ping()
            workflow = workflow_of(graph)
            seconds[graph.name] = _timed(lambda c=client, w=workflow: c.start_workflow(w))
        progress(f"submit {graph.name}: {seconds[graph.name]:.2f} s")
        with redis.Redis.from_url(stack.redis_url(NOBODY)) as server:
            server.flushdb()
    return seconds


def _findings(
    compared: Sequence[Compared],
    bare: Sequence[float],
    messages: Mapping[int, Sequence[int]],
    submitted: Mapping[str, float],
) -> list[Finding]:
    findings = [
        found
        for each in compared
        for found in (
            _beside(
                f"{each.graph.name}: ms a step, SDK call included, beside the bare sketch",
                each.ours,
                each.peer,
            ),
            _beside("- beside the sketch with the same SDK call in each step", each.ours, each.peer_calling),
            _beside(
                "- the sketch with that call beside itself without", each.peer_calling, each.peer, aim=""
            ),
        )
    ]
    findings.append(
        Finding(
            "one SDK call alone, one after the other, p50 / p95",
            "",
            f"{median(bare):.2f} / {percentile(bare, 95):.2f} ms",
        )
    )
    least, most = (max(messages[size]) for size in (min(messages), max(messages)))
    findings.append(
        Finding(
            f"largest message of a step, runs of {min(messages)} and of {max(messages)} steps",
            "flat",
            f"{least} and {most} bytes",
            most <= least * 1.02,
        )
    )
    for shape, seconds in submitted.items():
        findings.append(
            Finding(
                f"submit a {shape}",
                f"<= {SUBMIT_AIM_SECONDS:g} s",
                f"{seconds:.2f} s",
                seconds <= SUBMIT_AIM_SECONDS,
            )
        )
    return findings


def _beside(what: str, one: Sequence[float], other: Sequence[float], *, aim: str = f"<= {AIM} x") -> Finding:
    ratio = median(one) / median(other)
    measured = f"{median(one):.2f} / {median(other):.2f} = {ratio:.2f} x"
    return Finding(what, aim, measured, ratio <= AIM if aim else None)


def _table(compared: Sequence[Compared]) -> Table:
    rows = [
        (
            each.graph.name,
            f"{median(each.ours):.2f}",
            f"{min(each.ours):.2f} ... {max(each.ours):.2f}",
            f"{median(each.peer):.2f}",
            f"{min(each.peer):.2f} ... {max(each.peer):.2f}",
            f"{median(each.peer_calling):.2f}",
            f"{min(each.peer_calling):.2f} ... {max(each.peer_calling):.2f}",
        )
        for each in compared
    ]
    head = ("shape", "ours", "range", "sketch", "range", "sketch with the call", "range")
    return Table("Milliseconds a step", head, rows)


def _message_table(messages: Mapping[int, Sequence[int]]) -> Table:
    rows = [(str(size), " ".join(map(str, sorted(found)))) for size, found in messages.items()]
    return Table("Bytes of the messages of a run's first four steps", ("steps of the run", "bytes"), rows)


if __name__ == "__main__":
    main(measure)
