"""Do the guards hold through an API outage, and with twice as much work as the limits allow?"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from figures import Finding, Table, percentile
from guard_scene import Events, Result, Scene, Size, per_second, scene, start

from cf_workers._redis import Keys
from cf_workers.client import Client
from cf_workers.resilience import Ask, Refused

# an API outage


@dataclass
class Outage:
    """What happened while the API was away.

    Args:
        per_second_open: requests in each second from one second after the breaker opened to the end.
        recovered_after: seconds from the API's return to the first answer beyond the probes.
        refusals: seconds that refusals took.
    """

    longest_cooldown: float = 0.0
    per_second_open: list[int] = field(default_factory=list)
    per_second_after: list[int] = field(default_factory=list)
    recovered_after: float = 0.0
    all_done_after: float = 0.0
    refusals: list[float] = field(default_factory=list)
    statuses: Mapping[str, int] = field(default_factory=dict)
    retried_for: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    calls: int = 0


OUTAGE_QUICK = {
    "CF_WORKERS_BREAKER__COOLDOWN_SECONDS": "1",
    "CF_WORKERS_BREAKER__LONGEST_COOLDOWN_SECONDS": "3",
}


def outage(seconds: float, steps: int = 50, settings: Mapping[str, str] | None = None) -> Outage:
    """All calls fail for a while under so many concurrent steps."""
    found = Outage()
    with (
        scene(settings, latency=0.5) as here,
        here.client() as client,
        Events(here.stack.redis_url()) as events,
    ):
        with here.workers("first", "second", threads=50):
            fails = [{"fault": "529", "rate": 0.5}, {"fault": "500", "rate": 1.0}]
            here.stack.control.configure(faults=fails)
            began = time.time()
            runs = start(client, steps)
            here.until(lambda: here.breaker().state != "closed", "the breaker to open", 30)
            opened = here.breaker().since
            _measure_refusals(here, found, until=began + seconds)
            here.stack.control.configure(faults=[])
            back = time.time()
            here.until(lambda: here.all_ended(runs), "all runs to end", 120)
            found.all_done_after = time.time() - back
            calls = here.calls(opened + 1.0)
            found.calls = len(here.calls())
            found.per_second_open = per_second(calls, opened + 1.0, back)
            found.per_second_after = per_second(calls, back, back + 30)
            good = sorted(one.finished_at or 0.0 for one in calls if one.status == 200)
            found.recovered_after = good[min(3, len(good) - 1)] - back
            found.statuses = here.statuses(runs)
            found.attempts = Counter(
                client.history.document(run)["results"]["only"]["attempts"] for run in runs
            )
        found.retried_for = Counter(
            str(e.get("exception")) for e in list(events.seen) if e["type"] == "task-retried"
        )
    return found


def _measure_refusals(here: Scene, found: Outage, until: float) -> None:
    ask = Ask(here.scope, input_tokens=100)
    while time.time() < until:
        status = here.breaker()
        if status.state == "open":
            found.longest_cooldown = max(found.longest_cooldown, status.until - status.since)
            before = time.perf_counter()
            told = here.guard.admit(ask)
            took = time.perf_counter() - before
            if isinstance(told, Refused):
                found.refusals.append(took)
        time.sleep(0.02)


def outage_findings(size: Size, settings: Mapping[str, str] | None = None) -> Result:
    found = outage(size.outage_seconds, settings=settings)
    p99 = percentile(found.refusals, 99) * 1000
    aim = found.longest_cooldown + 2
    busiest = max(found.per_second_open)
    rate = sum(found.per_second_open) / len(found.per_second_open)
    retried: Counter[str] = Counter()
    for reason, number in found.retried_for.items():
        retried[reason[:70]] += number
    findings = [
        Finding(
            "requests a second while the breaker is open: mean, busiest second",
            "<= 3 (the probes)",
            f"{rate:.2f}, {busiest}",
            busiest <= 3,
        ),
        Finding(
            "a refusal, p50 / p99",
            "< 50 ms",
            f"{percentile(found.refusals, 50) * 1000:.1f} / {p99:.1f} ms of {len(found.refusals)}",
            p99 < 50,
        ),
        Finding(
            "first answer beyond the probes after the API is back",
            f"<= cooldown {found.longest_cooldown:.1f} s + 2 s",
            f"{found.recovered_after:.1f} s; all done after {found.all_done_after:.1f} s",
            found.recovered_after <= aim,
        ),
        Finding("runs failed", "0", str(dict(found.statuses)), set(found.statuses) == {"succeeded"}),
    ]
    rows = [(reason, str(number)) for reason, number in retried.most_common(8)]
    return findings, [
        Table(
            "Requests in each second after the API was back",
            ("requests",),
            [(" ".join(map(str, found.per_second_after)),)],
        ),
        Table("task-retried events, by reason", ("reason", "events"), rows),
        Table(
            "Attempts of a step",
            ("attempts", "steps"),
            [(str(k), str(v)) for k, v in sorted(found.attempts.items())],
        ),
    ]


# twice as much work as the limits allow, of two tenants


@dataclass
class Overload:
    """What two tenants got."""

    seconds: float
    calls: int
    refused: int
    used_requests: float
    used_tokens: float
    shares: Mapping[str, float]
    weights: Mapping[str, float]
    statuses: Mapping[str, Mapping[str, int]]
    total_seconds: float


def overload(
    seconds: float, *, rpm: int = 600, itpm: int = 600_000, burst: float = 2.0, learnt: bool = False
) -> Overload:
    """Two tenants with weights 1 and 2 each ask for as much as there is."""
    weights = {"red": 1.0, "blue": 2.0}
    settings = {
        "CF_WORKERS_LIMITS__WEIGHTS": json.dumps(weights),
        "CF_WORKERS_LIMITS__BURST_SECONDS": str(burst),
    }
    if not learnt:
        settings["CF_WORKERS_LIMITS__REQUESTS_PER_MINUTE"] = str(rpm)
        settings["CF_WORKERS_LIMITS__INPUT_TOKENS_PER_MINUTE"] = str(itpm)
    own = {name: {"CF_WORKERS_NAMESPACE": name} for name in weights}
    simulator = {
        "requests_per_minute": rpm,
        "input_tokens_per_minute": itpm,
        "burst_seconds": 60.0 if learnt else burst + 1,
    }
    with (
        scene(settings, latency=0.5, **simulator) as here,
        here.client("red") as red,
        here.client("blue") as blue,
        here.workers("red", "blue", threads=60, **own),
    ):
        runs = _submit_steadily({"red": red, "blue": blue}, rate=2 * rpm / 60, seconds=seconds)
        offered_until = time.time()
        for name, mine in runs.items():
            here.until(
                lambda mine=mine, name=name: here.all_ended(mine, name),
                f"the runs of {name}",
                6 * seconds + 60,
                0.5,
            )  # type: ignore[misc]
        calls = here.calls()
        ended = max(one.finished_at or 0.0 for one in calls)
        began = min(one.received_at for one in calls)
        settled = began + min(10.0, seconds / 3)
        busy = [c for c in calls if settled <= c.received_at < offered_until and c.status == 200]
        minutes = (offered_until - settled) / 60
        tokens = sum(
            c.usage.get("input_tokens", 0) + c.usage.get("cache_creation_input_tokens", 0) for c in busy
        )
        shares = _shares(here, runs, settled, offered_until)
        return Overload(
            seconds=seconds,
            calls=len(calls),
            refused=sum(c.status == 429 for c in calls),
            used_requests=len(busy) / (rpm * minutes),
            used_tokens=tokens / (itpm * minutes),
            shares=shares,
            weights=weights,
            statuses={name: here.statuses(mine, name) for name, mine in runs.items()},
            total_seconds=ended - began,
        )


def _submit_steadily(clients: Mapping[str, Client], rate: float, seconds: float) -> dict[str, list[str]]:
    """Each client submits the same, together at this rate."""
    runs: dict[str, list[str]] = {name: [] for name in clients}
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        if sent < passed * rate:
            for name, client in clients.items():
                runs[name] += start(client, 1, text="Think of it. " * 300)
                sent += 1
        time.sleep(0.002)
    return runs


def _shares(here: Scene, runs: Mapping[str, list[str]], since: float, until: float) -> dict[str, float]:
    """Which share of the answers each tenant had while both wanted more."""
    counts = {}
    for name, mine in runs.items():
        keys = Keys(name)
        with here.redis.pipeline(transaction=False) as pipe:
            for run in mine:
                pipe.hget(keys.run(run).steps, "only")
            ends = [float(json.loads(raw)["fin"]) for raw in pipe.execute() if raw]
        counts[name] = sum(since <= end < until for end in ends)
    total = sum(counts.values())
    return {name: number / total for name, number in counts.items()}


def overload_findings(size: Size, learnt: bool = False) -> Result:
    found = overload(size.overload_seconds, learnt=learnt)
    refused = found.refused / found.calls
    used = max(found.used_requests, found.used_tokens)
    total = sum(found.weights.values())
    off = {name: found.shares[name] / (weight / total) - 1 for name, weight in found.weights.items()}
    how = "learnt" if learnt else "configured"
    findings = [
        Finding(
            f"2x overload for {found.seconds:g} s, limits {how}: answered 429",
            "< 1 %",
            f"{refused:.2%} of {found.calls}",
            refused < 0.01,
        ),
        Finding(
            "- of the scarcest bucket used",
            "> 90 %",
            f"{used:.1%} (requests {found.used_requests:.1%}, tokens {found.used_tokens:.1%})",
            used > 0.9,
        ),
        Finding(
            "- tenants off their weight",
            "within 10 %",
            ", ".join(f"{name} {value:+.1%}" for name, value in off.items()),
            all(abs(value) <= 0.1 for value in off.values()),
        ),
        Finding(
            "- all work finished",
            "all succeeded",
            str({n: dict(s) for n, s in found.statuses.items()}),
            all(set(s) == {"succeeded"} for s in found.statuses.values()),
        ),
    ]
    return findings, []
