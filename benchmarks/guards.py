"""Do the guards hold? An API outage, an overload shared by two tenants, parked steps, and batch beside interactive.

Real worker processes against the stand-in, which counts. Each scenario prints its figures:

python benchmarks/guards.py [--quick] [--only outage overload parked lanes cap]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from celery import Celery
from figures import Finding, Table, percentile
from support import AGENT, Child, Report, Stack, progress, rendered

from cf_workers._redis import Keys, connect
from cf_workers.client import Client
from cf_workers.planning import WorkflowOptions
from cf_workers.resilience import Ask, Guard, Refused, Scope, credential_digest
from cf_workers.settings import load_settings
from cf_workers.simulator.journal import RequestRecord
from cf_workers.tasks.guarded import model_class

KEY = "sk-benchmark"
WORKFLOW = {"name": "one", "steps": [{"id": "only", "agent": AGENT}]}
Result = tuple[list[Finding], list[Table]]


@dataclass(frozen=True)
class Size:
    """How long and how much.

    Args:
        parked: steps that wait while the breaker is held open.
        batch: enqueued batch steps.
    """

    outage_seconds: float = 60.0
    overload_seconds: float = 120.0
    parked: int = 10_000
    parked_cooldown: float = 180.0
    batch: int = 1000


QUICK = Size(outage_seconds=8.0, overload_seconds=15.0, parked=300, parked_cooldown=10.0, batch=60)


class Scene:
    """A stack whose workers and clients share some settings."""

    def __init__(self, stack: Stack, settings: Mapping[str, str]) -> None:
        self.stack = stack
        self.settings = dict(settings)
        self.redis = redis.Redis.from_url(stack.redis_url(), decode_responses=True)
        policy = load_settings(environ={}, **self._sections()).guard_policy
        self.scope = Scope(credential_digest(KEY), model_class(load_settings(environ={}).agents.model))
        self.guard = Guard(connect(stack.redis_url(), timeout_seconds=0.25), Keys(), policy)

    def _sections(self) -> dict[str, Any]:
        sections: dict[str, Any] = {}
        for name, value in self.settings.items():
            section, _, entry = name.removeprefix("CF_WORKERS_").lower().partition("__")
            if section in ("breaker", "limits"):
                sections.setdefault(section, {})[entry] = json.loads(value)
        return sections

    @contextlib.contextmanager
    def workers(
        self, *names: str, threads: int = 100, **settings: Mapping[str, str]
    ) -> Iterator[list[Child]]:
        """One worker a name, ready; `settings` of one of them are given by its name."""
        with contextlib.ExitStack() as exits:
            children = []
            for name in names:
                own = {**self.settings, **settings.get(name, {})}
                children.append(self.stack.start_worker(threads=threads, name=name, settings=own))
                exits.callback(children[-1].end)
            for name, child in zip(names, children, strict=True):
                self._wait_for_liveness(child, settings.get(name, {}).get("CF_WORKERS_NAMESPACE", "cfw"))
            yield children

    def _wait_for_liveness(self, child: Child, namespace: str) -> None:
        def alive() -> bool:
            found = [
                json.loads(v)
                for k in self.redis.scan_iter(f"{namespace}:worker:*")
                if (v := self.redis.get(k))
            ]
            return any(one["pid"] == child.pid and one["queues"] for one in found)

        child.wait_for(alive)

    @contextlib.contextmanager
    def client(self, namespace: str | None = None) -> Iterator[Client]:
        """A producer of a namespace."""
        before = dict(os.environ)
        os.environ.update(self.settings)
        if namespace:
            os.environ["CF_WORKERS_NAMESPACE"] = namespace
        try:
            client = self.stack.client()
            assert client.context  # settings are read now
        finally:
            os.environ.clear()
            os.environ.update(before)
        with client:
            yield client

    def calls(self, since: float = 0.0) -> list[RequestRecord]:
        found = self.stack.control.requests()
        return [one for one in found if one.path == "/v1/messages" and one.received_at >= since]

    def breaker(self) -> Any:
        return self.guard.status(self.scope).breaker

    def until(self, predicate: Callable[[], object], what: str, seconds: float, every: float = 0.05) -> None:
        deadline = time.monotonic() + seconds
        while not predicate():
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {seconds:g} s for {what}")
            time.sleep(every)

    def statuses(self, runs: Sequence[str], namespace: str = "cfw") -> Counter[str]:
        keys = Keys(namespace)
        with self.redis.pipeline(transaction=False) as pipe:
            for run in runs:
                pipe.hget(keys.run(run).run, "status")
            return Counter(str(status) for status in pipe.execute())

    def all_ended(self, runs: Sequence[str], namespace: str = "cfw") -> bool:
        return set(self.statuses(runs, namespace)) <= {"succeeded", "failed", "cancelled"}


@contextlib.contextmanager
def scene(settings: Mapping[str, str] | None = None, **simulator: Any) -> Iterator[Scene]:
    with Stack(**simulator) as stack:
        made = Scene(stack, settings or {})
        try:
            yield made
        finally:
            made.redis.close()


def start(client: Client, number: int, lane: str = "interactive", text: str = "") -> list[str]:
    """Start so many runs of one step."""
    options = WorkflowOptions(lane=lane)  # type: ignore[arg-type]
    return [
        client.start_workflow(WORKFLOW, f"Look into {uuid4().hex} {text}", options=options).id
        for _ in range(number)
    ]


class Events:
    """Celery's events, as Flower hears them."""

    def __init__(self, url: str) -> None:
        self.seen: list[dict[str, Any]] = []
        self._app = Celery("listener", broker=url, set_as_current=False)
        self._connection = self._app.connection()
        self._receiver = self._app.events.Receiver(self._connection, handlers={"*": self.seen.append})
        self._thread = threading.Thread(target=self._receiver.capture, kwargs={"wakeup": False}, daemon=True)

    def __enter__(self) -> Events:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.should_stop = True
        self._thread.join(10)
        self._connection.release()
        self._app.close()


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
            found.per_second_open = _per_second(calls, opened + 1.0, back)
            found.per_second_after = _per_second(calls, back, back + 30)
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


def _per_second(calls: Sequence[RequestRecord], first: float, last: float) -> list[int]:
    bins = [0] * max(1, int(last - first))
    for one in calls:
        if first <= one.received_at < first + len(bins):
            bins[int(one.received_at - first)] += 1
    return bins


def outage_findings(size: Size, settings: Mapping[str, str] | None = None) -> Result:
    found = outage(size.outage_seconds, settings=settings)
    p99 = percentile(found.refusals, 99) * 1000
    aim = found.longest_cooldown + 2
    busiest = max(found.per_second_open)
    rate = sum(found.per_second_open) / len(found.per_second_open)
    retried = Counter({reason[:70]: number for reason, number in found.retried_for.items()})
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
            per_second=_per_second(good, opens, last + 1),
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
        runs = start(client, batch, lane="batch")
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
            f"{found.batch} batch steps enqueued, then interactive calls one by one: wait beside the call itself",
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
