"""Do the guards hold? An API outage, an overload of two tenants, parked steps, and batch beside interactive.

Real worker processes against the stand-in, which counts. Each scenario prints its figures:

python benchmarks/guards.py [--quick] [--only outage overload learnt parked lanes cap]
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from figures import Finding, Table
from guard_load import OUTAGE_QUICK, outage_findings, overload_findings
from guard_scene import QUICK, Result, Size, per_second, scene, start
from support import AGENT, Report, progress, rendered

from cf_workers._redis import Keys

# steps that are parked


@dataclass
class Parked:
    """What parked steps cost, and how they came back."""

    steps: int
    bytes_a_step: float
    bytes_by_parking: float
    unacked: int
    messages: int
    busy: int
    per_second: Sequence[int] = ()
    first_after: float = 0.0
    statuses: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def parked(steps: int, cooldown: float) -> Parked:
    """A breaker is open while steps arrive; then its cooldown ends and the API is well again."""
    settings = {
        "CF_WORKERS_BREAKER__COOLDOWN_SECONDS": str(cooldown),
        "CF_WORKERS_BREAKER__LONGEST_COOLDOWN_SECONDS": str(cooldown),
    }
    with scene(settings, latency=0.2) as here, here.client() as client, here.workers("only", threads=100):
        here.stack.control.configure(faults=[{"fault": "500", "rate": 1.0}])
        openers = start(client, 20)
        here.until(lambda: here.breaker().state == "open", "the breaker to open", 30)
        here.until(lambda: here.redis.zcard("cfw:parked") == len(openers), "the first to be parked", 60)
        here.stack.control.configure(faults=[])
        empty = here.redis.info("memory")["used_memory"]
        runs = start(client, steps)
        all_steps = [*openers, *runs]
        here.until(
            lambda: here.redis.zcard("cfw:parked") == len(all_steps), "all to be parked", cooldown, 0.2
        )
        here.until(lambda: here.redis.hlen("unacked") == 0, "the last to be acknowledged", 5)
        full = here.redis.info("memory")["used_memory"]
        guard = Keys().guard(here.scope.credential, here.scope.model_class)
        keys = (guard.waiters, guard.waiting, "cfw:parked")
        line = sum(here.redis.memory_usage(key, samples=0) or 0 for key in keys)
        opens = here.breaker().until
        progress(f"{steps} parked {opens - time.time():.0f} s before the cooldown ends")
        measured = Parked(
            steps=steps,
            bytes_a_step=(full - empty) / steps,
            bytes_by_parking=line / len(all_steps),
            unacked=here.redis.hlen("unacked"),
            messages=sum(here.redis.llen(queue) for queue in ("control", "interactive", "batch")),
            busy=here.redis.zcard("cfw:claims"),
        )
        here.until(lambda: here.all_ended(all_steps), "all to end", cooldown + 600, 0.5)
        good = [call for call in here.calls(opens - 1) if call.status == 200]
        last = max(call.received_at for call in good)
        return replace(
            measured,
            per_second=per_second(good, opens, last + 1),
            first_after=min(call.received_at for call in good) - opens,
            statuses=here.statuses(all_steps),
            seconds=last - opens,
        )


def parked_findings(size: Size) -> Result:
    found = parked(size.parked, size.parked_cooldown)
    busiest = max(found.per_second)
    rate = found.steps / found.seconds
    findings = [
        Finding(
            f"{found.steps} parked steps: slots, unacknowledged and queued messages",
            "0, 0, 0",
            f"{found.busy}, {found.unacked}, {found.messages}",
            not (found.busy or found.unacked or found.messages),
        ),
        Finding(
            "- memory of a parked run of one step",
            "",
            f"{found.bytes_a_step:.0f} bytes, {found.bytes_by_parking:.0f} of them for parking",
        ),
        Finding(
            "- first request after the breaker closed",
            "<= 2 s",
            f"{found.first_after:.1f} s",
            found.first_after <= 2,
        ),
        Finding(
            "- requests a second after it: mean, busiest second",
            "",
            f"{rate:.0f}, {busiest}; all in {found.seconds:.0f} s",
            busiest <= 3 * max(rate, 50),
        ),
        Finding("- runs", "all succeeded", str(dict(found.statuses)), set(found.statuses) == {"succeeded"}),
    ]
    return findings, []


# batch work beside interactive work


@dataclass
class Lanes:
    """How long interactive calls waited for a slot while batch work had the fleet."""

    batch: int
    call_seconds: float
    waits: list[float]
    batch_per_second: float
    peak: int


def lanes(batch: int, calls: int = 5, threads: int = 20, latency: float = 1.0) -> Lanes:
    """Batch steps fill the fleet; then somebody asks."""
    with scene(latency=latency) as here, here.client() as client, here.workers("only", threads=threads):
        runs = start(client, batch, lane="background")
        here.until(
            lambda: here.stack.control.stats().in_flight >= threads * 3 // 4, "batch to fill the fleet", 30
        )
        waits = []
        for _ in range(calls):
            word = uuid4().hex
            asked = time.time()
            client.submit(AGENT, f"Quick: {word}").result(timeout=60)
            waits.append(max(0.0, time.time() - asked - latency))
        here.until(lambda: here.all_ended(runs), "batch to end", 60 + 3 * batch * latency / threads, 0.2)
        done = [c for c in here.calls() if c.status == 200]
        took = max(c.finished_at or 0.0 for c in done) - min(c.received_at for c in done)
        return Lanes(batch, latency, waits, len(done) / took, here.stack.control.stats().peak_in_flight)


def lanes_findings(size: Size) -> Result:
    found = lanes(size.batch)
    worst = max(found.waits)
    return [
        Finding(
            f"{found.batch} batch steps enqueued, then interactive calls one by one: wait of each",
            f"<= {found.call_seconds:g} s, one call",
            ", ".join(f"{wait:.2f}" for wait in found.waits) + " s",
            worst <= found.call_seconds,
        ),
        Finding("- batch calls a second meanwhile", "", f"{found.batch_per_second:.1f}"),
    ], []


# a cap for the fleet


def capped(cap: int = 10, steps: int = 60) -> tuple[int, Counter[str], float]:
    """Two workers with many slots, and a project that allows few calls at once."""
    settings = {"CF_WORKERS_LIMITS__MAX_CONCURRENT_AGENTS": str(cap)}
    with (
        scene(settings, latency=0.3) as here,
        here.client() as client,
        here.workers("first", "second", threads=40),
    ):
        runs = start(client, steps)
        here.until(lambda: here.all_ended(runs), "all to end", 120)
        calls = here.calls()
        took = max(c.finished_at or 0.0 for c in calls) - min(c.received_at for c in calls)
        used = sum((c.finished_at or 0.0) - c.received_at for c in calls) / (cap * took)
        return here.stack.control.stats().peak_in_flight, here.statuses(runs), used


def cap_findings(size: Size) -> Result:
    peak, statuses, used = capped(steps=60 if size is QUICK else 300)
    return [
        Finding(
            "max_concurrent_agents = 10, two workers with 40 slots each: most in flight",
            "<= 10",
            str(peak),
            peak <= 10,
        ),
        Finding("- of the cap used", "", f"{used:.0%}; runs {dict(statuses)}"),
    ], []


SCENARIOS: dict[str, Callable[[Size], Result]] = {
    "outage": lambda size: outage_findings(size, OUTAGE_QUICK if size is QUICK else None),
    "overload": overload_findings,
    "learnt": lambda size: overload_findings(size, learnt=True),
    "parked": parked_findings,
    "lanes": lanes_findings,
    "cap": cap_findings,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short versions")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--json", type=Path, help="write the report to this file as well")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every process is ended
    findings: list[Finding] = []
    tables: list[Table] = []
    for name in options.only:
        began = time.monotonic()
        more, details = SCENARIOS[name](QUICK if options.quick else Size())
        findings += more
        tables += details
        progress(f"{name} took {time.monotonic() - began:.0f} s")
    report = Report("benchmarks/guards.py", findings, tables)
    print(rendered(report))
    if options.json:
        options.json.write_text(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
