"""What does an answer cost that is known already?

A hit inside a process (`Cache.lookup`: fetch, check the signature, unpack) stands beside a bare GET of the
very same bytes on the same connection, in turns; then the same with the key made from the call, as a worker
does it; then end to end, given by a worker and by the producer itself. A herd of identical calls over several
workers shows what single-flight spares, and a workload in which few tasks are asked for often (Zipf) what the
cache does when it is too small for all of them.

Other Redis caches are measured in the same run when `CACHE_PEERS_PYTHON` names an interpreter that has
`langchain-community` and `cashews` installed (a throw-away virtual environment).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics
from uuid import uuid4

import redis
from figures import Finding, Table, median, percentile
from support import AGENT, Report, Stack, main, progress

from cf_workers._redis import Keys, connect_bounded
from cf_workers.agents.definition import AgentCall
from cf_workers.answers import key_of
from cf_workers.cache import Cache, CachePolicy, GivenSecret, Hit
from cf_workers.cache.entry import unseal
from cf_workers.client import Client

AIM = 2.0
COST_NANOS = 12_000_000
BYTES = (1_000, 4_000, 16_000, 64_000)
ZIPF_TASKS, ZIPF_EXPONENT = 2_000, 1.1
HERD_AIM_SECONDS = 1.0
SECRET = GivenSecret(b"benchmark")
PEERS = "CACHE_PEERS_PYTHON"
NOTES = [
    "A hit is one round trip: found, marked as used and counted by a script; then its signature (HMAC-SHA256 of"
    " what is stored) is checked, the text unpacked (LZ4) and decoded. The entry as stored is what a hit has to"
    " fetch; the bare text is what a cache fetches that neither signs nor compresses. Both GETs are those of"
    " redis-py, parsed by hiredis, as in the product. All took turns on one connection, in another order each"
    " round.",
    "Why long texts miss the aim: at 64,000 characters the signature, unpacking and decoding alone take longer"
    " than a whole GET, and storing texts uncompressed takes no less: then more has to be hashed.",
    "A worker asks for a hit together with what it would do otherwise - lead the call or follow who does - in"
    " the same round trip.",
    "Other caches' hits are theirs alone: none of them keeps an order of use, limits bytes, counts, or knows"
    " what it saved. That of langchain is neither signed nor compressed; cashews runs on asyncio, whose round"
    " trip alone costs more than that of a thread.",
]
INSIDE, ENDS, ZIPF, HERD = 1, 2, 3, 4
"""Databases of the server."""


def measure(quick: bool) -> Report:
    """All of it, with one server and one stand-in."""
    rounds = 1_000 if quick else 10_000
    findings: list[Finding] = []
    tables: list[Table] = []
    notes: list[str] = []
    with Stack(latency=1.0) as stack:
        for part in (
            lambda: _inside(stack, rounds),
            lambda: _peers(stack, rounds),
            lambda: _end_to_end(stack, 50 if quick else 500),
            lambda: _herd(stack, *((200, 2) if quick else (1_000, 4))),
            lambda: _zipf(stack, 4_000 if quick else 40_000),
            lambda: _compression(stack),
        ):
            found = part()
            findings += found.findings
            tables += found.tables
            notes += found.notes
    return Report(f"benchmarks/cache.py{' --quick' if quick else ''}", findings, tables, notes)


def english(size: int) -> str:
    """So many characters of technical prose: the language reference that comes with Python."""
    return "\n".join(topics[name] for name in sorted(topics))[:size]


def document(size: int) -> Mapping[str, object]:
    """What the cache keeps of an answer of so many characters."""
    usage = {"input_tokens": 4_400, "output_tokens": size // 4}
    rest = {"model": "m", "usage": usage, "stop_reason": "end_turn", "request_id": "r"}
    return {"output": english(size), **rest}


def cache_at(url: str, policy: CachePolicy | None = None) -> Cache:
    return Cache(connect_bounded(url, timeout_seconds=5.0), Keys(), SECRET, policy=policy)


def timed(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return (time.perf_counter() - began) * 1e6


def quantiles(micros: Sequence[float]) -> tuple[str, str, str]:
    return (f"{median(micros):.0f}", f"{percentile(micros, 95):.0f}", f"{percentile(micros, 99):.0f}")


def _inside(stack: Stack, rounds: int) -> Report:
    found = [_inside_of(size, stack, rounds) for size in BYTES]
    head = ("what", "characters", "bytes", "p50", "p95", "p99", "beside a GET of the entry", "of the text")
    rows = [row for rows, _ in found for row in rows]
    findings = [finding for _, findings in found for finding in findings]
    return Report("", findings, [Table("Microseconds of a hit inside a process", head, rows)], NOTES)


def _inside_of(size: int, stack: Stack, rounds: int) -> tuple[list[tuple[str, ...]], list[Finding]]:
    """Hits of one size: rows of the table, and findings."""
    progress(f"a hit inside a process, {size} characters")
    url = stack.redis_url(INSIDE)
    with redis.Redis.from_url(url) as server:
        server.flushdb()
    cache = cache_at(url)
    client = cache.entries._client  # the same connection for all
    call = _call("what is known", stack)
    key = key_of(call, "benchmark")
    cache.store(key, document(size), tags={"agent": AGENT}, cost_nanos=COST_NANOS)
    entry, text = client.hget(Keys().cache_shard(0).entries, key), english(size).encode()
    client.set("entry", entry)
    client.set("text", text)
    assert isinstance(cache.lookup(key), Hit)
    each: dict[str, tuple[int, Callable[[], object]]] = {
        "GET of the entry as stored": (len(entry), partial(client.get, "entry")),
        "GET of the bare text": (len(text), partial(client.get, "text")),
        "hit": (len(entry), partial(cache.lookup, key)),
        "hit as a worker asks for it": (
            len(entry),
            partial(cache.seek, key, holder="h" * 36, waiter="w" * 40),
        ),
        "key and hit": (len(entry), lambda: cache.lookup(key_of(call, "benchmark"))),
        "signature, unpacking, decoding alone": (
            len(entry),
            lambda: unseal(key, entry, SECRET.get(), max_bytes=cache.policy.max_document_bytes),
        ),
    }
    measured = _in_turns(rounds, *(do for _, do in each.values()))
    bare, plain, hit, asked = map(median, measured[:4])
    rows = [
        (
            name,
            f"{size:,}",
            f"{length:,}",
            *quantiles(micros),
            f"{median(micros) / bare:.2f}",
            f"{median(micros) / plain:.2f}",
        )
        for (name, (length, _)), micros in zip(each.items(), measured, strict=True)
    ]
    findings = [
        Finding(
            f"a hit of {size:,} characters beside a bare GET of the same {len(entry):,} bytes, p50",
            f"<= {AIM:g} x",
            f"{hit:.0f} / {bare:.0f} us = {hit / bare:.2f} x",
            hit / bare <= AIM,
        ),
        Finding(
            f"- beside a bare GET of its text, {len(text):,} bytes; as a worker asks for it, beside the entry",
            "",
            f"{hit / plain:.2f} x; {asked / bare:.2f} x",
        ),
    ]
    return rows, findings


def _in_turns(rounds: int, *each: Callable[[], object]) -> list[list[float]]:
    """Microseconds of each, measured in turns: a moment in which the machine is busy disturbs all alike.

    The order is another in each round: what comes after longer work finds the processor's caches cold.
    """
    found: list[list[float]] = [[] for _ in each]
    turns = list(zip(found, each, strict=True))
    chance = random.Random(1)
    for _ in range(rounds):
        chance.shuffle(turns)
        for micros, do in turns:
            micros.append(timed(do))
    return found


def _peers(stack: Stack, rounds: int) -> Report:
    interpreter = os.environ.get(PEERS)
    if not interpreter:
        return Report("", [], [], [f"other caches were not measured: {PEERS} names no interpreter"])
    progress("other caches")
    script = Path(__file__).with_name("cache_peers.py")
    argv = [interpreter, str(script), stack.redis_url(INSIDE), str(rounds), json.dumps(list(BYTES))]
    texts = json.dumps([english(size) for size in BYTES])
    done = subprocess.run(argv, input=texts, capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(done.stdout)
    rows = [
        (name, f"{size:,}", *quantiles(micros["hit"]), f"{median(micros['hit']) / median(micros['get']):.2f}")
        for name, sizes in found.items()
        for size, micros in zip(BYTES, sizes, strict=True)
    ]
    head = ("cache", "characters", "hit p50", "p95", "p99", "beside a bare GET")
    return Report("", [], [Table("Microseconds of a hit of other caches, same server and run", head, rows)])


def _end_to_end(stack: Stack, times: int) -> Report:
    progress("hits end to end")
    with stack.worker(database=ENDS), _clients(stack, ENDS) as (by_worker, by_itself):
        by_worker.submit(AGENT, "what is known").result(60)

        def ask(client: Client) -> list[float]:
            found = []
            for _ in range(times):
                began = time.perf_counter()
                result = client.submit(AGENT, "what is known").result(60)
                found.append((time.perf_counter() - began) * 1000)
                assert result.metadata["cached"]
            return found

        sides = {"by a worker": ask(by_worker), "by the producer itself": ask(by_itself)}
    rows = [
        (name, *(f"{value:.1f}" for value in (median(m), percentile(m, 95), percentile(m, 99))))
        for name, m in sides.items()
    ]
    findings = [
        Finding(f"a hit end to end, given {name}, p50 / p95 / p99", "", f"{p50} / {p95} / {p99} ms")
        for name, p50, p95, p99 in rows
    ]
    return Report(
        "", findings, [Table("Milliseconds of a hit, submit to result", ("", "p50", "p95", "p99"), rows)]
    )


def _herd(stack: Stack, calls: int, workers: int) -> Report:
    progress(f"{calls} identical calls over {workers} workers")
    stack.control.reset()
    latency = max(3.0, calls / 100)  # long enough for all of them to arrive before it is answered
    stack.control.configure(latency=latency, body_bytes_limit=0)
    with ExitStack() as exits:
        for number in range(workers):
            exits.enter_context(stack.worker(database=HERD, name=f"w{number}"))
        client, _ = exits.enter_context(_clients(stack, HERD))
        task = f"the same for all {uuid4().hex}"
        handles = [client.submit(AGENT, task) for _ in range(calls)]
        outputs = {handle.result(120).output for handle in handles}
        requests = sum(one.path == "/v1/messages" for one in stack.control.requests())
        ends = sorted(client.history.document(handle.id)["finished_at"] for handle in handles)
        stats = client.cache.stats()
    stack.control.configure(latency=1.0)
    last = ends[-1] - ends[0]
    findings = [
        Finding(
            f"{calls:,} identical calls over {workers} worker processes: requests, different answers",
            "1 and 1",
            f"{requests} and {len(outputs)}",
            (requests, len(outputs)) == (1, 1),
        ),
        Finding("the same: hits and misses counted", "", f"{stats.hits} and {stats.misses}"),
        Finding(f"the same: last answer after the first, all {calls:,}", "", f"{last:.2f} s"),
    ]
    return Report("", findings, [])


def _zipf(stack: Stack, times: int) -> Report:
    chance = random.Random(7)
    weights = [1 / rank**ZIPF_EXPONENT for rank in range(1, ZIPF_TASKS + 1)]
    asked = chance.choices(range(ZIPF_TASKS), weights, k=times)
    distinct = len(set(asked))
    rows, findings = [], []
    answer = document(2_000)
    for share in (1.0, 0.25, 0.05):
        progress(f"Zipf, room for {share:.0%} of the tasks")
        url = stack.redis_url(ZIPF)
        with redis.Redis.from_url(url) as server:
            server.flushdb()
        probe = cache_at(url)
        probe.store("0" * 64, answer, tags={}, cost_nanos=COST_NANOS)
        room = int(probe.stats().bytes * ZIPF_TASKS * share * 1.05)
        probe.clear()
        cache = cache_at(url, CachePolicy(max_bytes=room))
        for task in asked:
            key = f"{task:064x}"
            if not isinstance(cache.lookup(key), Hit):
                cache.store(key, answer, tags={}, cost_nanos=COST_NANOS)
        stats = cache.stats()
        before = stats.hits
        best = 1 - distinct / times
        rate = before / times
        rows.append(
            (f"{share:.0%}", f"{rate:.1%}", f"{best:.1%}", f"{stats.evictions:,}", f"${stats.saved_usd:,.2f}")
        )
        findings.append(
            Finding(
                f"Zipf, {times:,} calls of {ZIPF_TASKS:,} tasks, room for {share:.0%}: hit rate, saved",
                "",
                f"{rate:.1%}, ${stats.saved_usd:,.2f} of ${times * COST_NANOS / 1e9:,.2f}",
            )
        )
    head = ("room for", "hit rate", "best possible", "evictions", "saved")
    title = f"A Zipf workload (exponent {ZIPF_EXPONENT}) of {times:,} calls at ${COST_NANOS / 1e9:g} each"
    return Report("", findings, [Table(title, head, rows)])


def _compression(stack: Stack) -> Report:
    progress("bytes with and without compression")
    rows = []
    for size in BYTES:
        stored = []
        for above in (10**9, CachePolicy().compress_above_bytes, 0):
            url = stack.redis_url(ZIPF)
            with redis.Redis.from_url(url) as server:
                server.flushdb()
            cache = cache_at(url, CachePolicy(compress_above_bytes=above))
            cache.store("0" * 64, document(size), tags={"agent": AGENT}, cost_nanos=COST_NANOS)
            stored.append(cache.stats().bytes)
        rows.append((f"{size:,}", *(f"{one:,}" for one in stored), f"{stored[1] / stored[0]:.2f}"))
    head = ("characters", "never compressed", "as shipped", "always compressed", "as shipped / never")
    return Report("", [], [Table("Bytes of an entry", head, rows)])


@contextmanager
def _clients(stack: Stack, database: int) -> Iterator[tuple[Client, Client]]:
    """One that leaves every answer to the workers, and one that gives known ones itself."""
    both = []
    os.environ["CF_WORKERS_CACHE__ENDPOINT"] = stack.simulator_url
    try:
        for short_cut in ("false", "true"):
            os.environ["CF_WORKERS_CACHE__SHORT_CUT"] = short_cut
            both.append(stack.client(database))
            both[-1].ping()
        yield both[0], both[1]
    finally:
        for name in ("CF_WORKERS_CACHE__ENDPOINT", "CF_WORKERS_CACHE__SHORT_CUT"):
            os.environ.pop(name, None)
        for client in both:
            client.close()


def _call(task: str, stack: Stack) -> AgentCall:
    with stack.client() as client:
        agent, settings = client.project.agent(AGENT), client.settings.agents
    return AgentCall(
        agent=agent,
        task=task,
        model=settings.model,
        max_tokens=settings.max_tokens,
        timeout_seconds=settings.timeout_seconds,
        outputs=(),
    )


if __name__ == "__main__":
    main(measure)
