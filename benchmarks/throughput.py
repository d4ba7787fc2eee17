"""How many agent calls a second does a worker make when each takes a second?

Single executions (`Client.submit`) wait in the queue before a fresh worker starts, so that its own speed is
measured and not that of the producer. The peer, in the same run and in turns: as many coroutines of
`AsyncAnthropic` as the worker has threads, behind a semaphore, with the very same requests. Both are counted
by the stand-in: the calls it answered, from the first one's arrival to the last one's end. Every task is
unique, so that no cache of any kind could answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from figures import Finding, Table, median, percentile, rate_between
from support import AGENT, Child, Report, Stack, main, progress, requester, resident_megabytes

from cf_workers.client import Client

LATENCY = 1.0
AIM = 0.95
AIM_AT = (100, 1)
MEGABYTES = 250
WAIT_SECONDS = 180.0


@dataclass(frozen=True)
class Setting:
    """So many threads in each of so many processes, and so many calls for all of them."""

    threads: int
    processes: int
    calls: int
    rounds: int = 1

    @property
    def at_once(self) -> int:
        return self.threads * self.processes


@dataclass(frozen=True)
class Rate:
    """What one side did.

    Args:
        per_second: calls over the whole time, from the first one's arrival to the last one's end.
        steady: the same without the first and the last wave, in which a worker fills and drains.
        seconds: what each call took as its caller saw it.
        unique: different tasks among the calls.
    """

    per_second: float
    steady: float
    seconds: Sequence[float]
    calls: int
    unique: int
    megabytes: float = 0.0


@dataclass(frozen=True)
class Pair:
    """One setting, measured in turns."""

    setting: Setting
    ours: Sequence[Rate]
    peer: Sequence[Rate]

    @property
    def ratio(self) -> float:
        return median([r.per_second for r in self.ours]) / median([r.per_second for r in self.peer])

    @property
    def steady_ratio(self) -> float:
        return median([r.steady for r in self.ours]) / median([r.steady for r in self.peer])

    @property
    def exact(self) -> bool:
        """Whether every call was made once, by both."""
        return all(rate.unique == rate.calls == self.setting.calls for rate in (*self.ours, *self.peer))

    @property
    def megabytes(self) -> float:
        return max(rate.megabytes for rate in self.ours)


def measure(quick: bool) -> Report:
    """Every setting on a fresh worker, the peer before and after it."""
    pairs = []
    with Stack(latency=LATENCY) as stack, stack.client() as client:
        for setting in _settings(quick):
            ours, peer = [], []
            for _ in range(setting.rounds):
                peer.append(asyncio.run(_raw(stack, client, setting)))
                ours.append(_worker(stack, client, setting))
            pairs.append(Pair(setting, ours, peer))
            progress(f"{setting}: {pairs[-1].ratio:.3f} of raw asyncio")
    return Report(
        f"benchmarks/throughput.py{' --quick' if quick else ''}",
        _findings(pairs),
        [_table(pairs)],
        [
            f"Each call takes {LATENCY:g} s at the stand-in, which takes its share of the same cores.",
            "Memory is the highest resident size of one worker process since its start.",
        ],
    )


def _settings(quick: bool) -> list[Setting]:
    if quick:
        return [Setting(100, 1, 1000), Setting(50, 2, 500)]
    return [
        Setting(50, 1, 500),
        Setting(100, 1, 4000),
        Setting(200, 1, 1200),
        Setting(500, 1, 2500),
        Setting(50, 2, 1000),
        Setting(100, 2, 1200),
        Setting(250, 2, 2500),
    ]


def _worker(stack: Stack, client: Client, setting: Setting) -> Rate:
    before = stack.control.stats().requests
    handles = [client.submit(AGENT, f"Look into {uuid4().hex}") for _ in range(setting.calls)]
    with contextlib.ExitStack() as exits:
        workers: list[Child] = []
        for number in range(setting.processes):
            workers.append(stack.start_worker(threads=setting.threads, name=f"worker-{number}"))
            exits.callback(workers[-1].end)
        _wait_for(stack, before + setting.calls)
        documents = [handle.result(timeout=WAIT_SECONDS).document for handle in handles]
        megabytes = max(resident_megabytes(worker.pid)[1] for worker in workers)
    seconds = [document["metadata"]["execution_time_ms"] / 1000 for document in documents]
    return _counted(stack, before, setting, seconds, megabytes)


async def _raw(stack: Stack, client: Client, setting: Setting) -> Rate:
    import anthropic

    request = requester(client)
    limit = asyncio.Semaphore(setting.at_once)
    seconds: list[float] = []

    async with anthropic.AsyncAnthropic(
        api_key="sk-benchmark", base_url=stack.simulator_url, max_retries=0
    ) as sdk:

        async def call() -> None:
            async with limit:
                began = time.perf_counter()
                await sdk.messages.create(**request(f"Look into {uuid4().hex}", ()))
                seconds.append(time.perf_counter() - began)

        before = stack.control.stats().requests
        await asyncio.gather(*(call() for _ in range(setting.calls)))
    return _counted(stack, before, setting, seconds)


def _wait_for(stack: Stack, requests: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        stats = stack.control.stats()
        if stats.requests >= requests and not stats.in_flight:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{stats.requests} of {requests} calls after {WAIT_SECONDS:g} s")
        time.sleep(0.2)


def _counted(
    stack: Stack, before: int, setting: Setting, seconds: Sequence[float], megabytes: float = 0.0
) -> Rate:
    """The rate by the log of the stand-in; what failed there is not counted."""
    answered = [r for r in stack.control.requests(since=before) if r.status == 200 and r.finished_at]
    begun = sorted(request.received_at for request in answered)
    ended = sorted(request.finished_at or 0.0 for request in answered)
    unique = {request.body_sha256 for request in answered}
    steady = rate_between(ended, ended[setting.at_once - 1], ended[-setting.at_once])
    return Rate(
        len(answered) / (ended[-1] - begun[0]), steady, seconds, len(answered), len(unique), megabytes
    )


def _findings(pairs: Sequence[Pair]) -> list[Finding]:
    findings = []
    for pair in pairs:
        setting = pair.setting
        aimed = (setting.threads, setting.processes) == AIM_AT
        ours, peer = (median([r.per_second for r in side]) for side in (pair.ours, pair.peer))
        findings.append(
            Finding(
                f"calls a second at {LATENCY:g} s, {_name(setting)}, beside raw AsyncAnthropic",
                f">= {AIM} x" if aimed else "",
                f"{ours:.1f} / {peer:.1f} = {pair.ratio:.3f} x",
                pair.ratio >= AIM if aimed else None,
            )
        )
        findings.append(
            Finding("- the same without the first and the last wave", "", f"{pair.steady_ratio:.3f} x")
        )
        if aimed:
            findings.append(
                Finding(
                    "resident memory of the worker at 100 threads",
                    f"< {MEGABYTES} MB",
                    f"{pair.megabytes:.0f} MB",
                    pair.megabytes < MEGABYTES,
                )
            )
    exact = sum(pair.exact for pair in pairs)
    findings.append(
        Finding(
            "settings in which each unique task was asked once",
            "all",
            f"{exact} of {len(pairs)}",
            exact == len(pairs),
        )
    )
    return findings


def _name(setting: Setting) -> str:
    processes = "1 process" if setting.processes == 1 else f"{setting.processes} processes"
    return f"{setting.threads} threads, {processes}"


def _table(pairs: Sequence[Pair]) -> Table:
    rows = []
    for pair in pairs:
        ours = [second for rate in pair.ours for second in rate.seconds]
        peer = [second for rate in pair.peer for second in rate.seconds]
        rows.append(
            (
                str(pair.setting.threads),
                str(pair.setting.processes),
                str(pair.setting.calls * pair.setting.rounds),
                f"{median([r.per_second for r in pair.ours]):.1f}",
                f"{median([r.per_second for r in pair.peer]):.1f}",
                f"{pair.ratio:.3f}",
                f"{pair.steady_ratio:.3f}",
                f"{percentile(ours, 50):.3f} / {percentile(ours, 95):.3f} s",
                f"{percentile(peer, 50):.3f} / {percentile(peer, 95):.3f} s",
                f"{pair.megabytes:.0f} MB",
            )
        )
    head = (
        "threads",
        "processes",
        "calls",
        "ours /s",
        "raw /s",
        "ratio",
        "steady",
        "a call, ours p50 / p95",
        "raw p50 / p95",
        "memory",
    )
    return Table("Agent calls", head, rows)


if __name__ == "__main__":
    main(measure)
