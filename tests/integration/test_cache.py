"""The response cache on a real server, used by many processes at once, and without its server."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from cf_workers._redis import Keys, connect_bounded
from cf_workers.cache import CachePolicy, Hit, Miss
from tests.integration.cache_user import ASKED, LIMIT, LOAD_POLICY, cache_at, key_of
from tests.support import eventually
from tests.support.servers import RealServer

pytestmark = pytest.mark.integration

PERMANENT_KEYS = ("cfw:cache:{*}:counters", ASKED)

SHARD = Keys().cache_shard(0)

AUDIT = """
local stored = 0
for _, entry in ipairs(redis.call('HVALS', KEYS[1])) do stored = stored + #entry end
return {
    tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0'), stored, redis.call('HLEN', KEYS[1]),
    redis.call('ZCARD', KEYS[3]), redis.call('ZCARD', KEYS[4]), redis.call('HLEN', KEYS[5]),
}
"""


def audit(client: redis.Redis) -> tuple[int, int, set[int]]:
    """Bytes accounted, bytes stored, and how many entries the five keys know, at one instant."""
    keys = (SHARD.entries, SHARD.state, SHARD.lru, SHARD.expiry, SHARD.index)
    accounted, stored, *counts = client.eval(AUDIT, len(keys), *keys)
    return accounted, stored, set(counts)


@pytest.mark.timeout(180)
def test_under_load_of_eight_processes_the_total_is_exact_and_never_above_the_limit(valkey, processes):
    users = [
        processes.python(
            "-m", "tests.integration.cache_user", "mixed", valkey.url, str(seed), "2000", until=None
        )
        for seed in range(8)
    ]
    samples = 0
    with valkey.client() as client:
        while any(user.running for user in users):
            accounted, stored, counts = audit(client)
            samples += stored > 0
            assert accounted == stored <= LIMIT
            assert len(counts) == 1
            time.sleep(0.002)  # between two samples: the users are to have the server as well
        assert [user.wait() for user in users] == [0] * 8
    stats = cache_at(valkey.url, LOAD_POLICY).stats()
    assert samples > 50
    assert min(stats.hits, stats.misses, stats.evictions, stats.expired, stats.integrity_failures) > 0


def ask_the_same(processes, url, name, count=250, seconds=0.3):
    return processes.python(
        "-m", "tests.integration.cache_user", "identical", url, name, str(count), str(seconds)
    )


def test_a_thousand_identical_calls_of_four_processes_are_made_once(valkey, processes):
    users = [ask_the_same(processes, valkey.url, str(number)) for number in range(4)]
    for user in users:
        assert user.wait() == 0

    lines = [line for user in users for line in user.output().splitlines()]
    answers = [line for line in lines if line.startswith("the answer of")]
    with valkey.client() as client:
        assert int(client.get(ASKED)) == 1
    assert len(answers) == 1_000
    assert len(set(answers)) == 1


def test_when_the_leader_is_killed_another_makes_the_call_within_its_lease(valkey, processes):
    leader = ask_the_same(processes, valkey.url, "first", 1, seconds=60)
    leader.wait_for("leading.")
    others = [ask_the_same(processes, valkey.url, str(number), 5) for number in range(3)]
    leader.kill()
    killed = time.monotonic()

    for other in others:
        other.wait_for("done.")
        assert other.wait() == 0

    assert time.monotonic() - killed < 30, "the leader's call would have taken a minute"
    with valkey.client() as client:
        assert int(client.get(ASKED)) == 2


@pytest.fixture
def own_server():
    server = RealServer(port=None)
    server.start()
    yield server
    if server.is_running():
        server.stop()


BOUND = 0.2
SLACK = 5.0
"""Seconds that a busy machine may add; a thousand time-outs would take 200."""
IMPATIENT = CachePolicy(timeout_seconds=BOUND, cooldown_seconds=0.3)


def seconds_of(operate) -> float:
    began = time.monotonic()
    operate()
    return time.monotonic() - began


def test_a_server_that_hangs_costs_its_time_out_once_and_is_used_again_when_it_is_back(own_server):
    cache = cache_at(own_server.connection_url, IMPATIENT)
    cache.store(key_of("a"), "answer", tags={}, cost_nanos=None)
    pid = own_server.client().info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        first = seconds_of(lambda: cache.lookup(key_of("a")))
        then = seconds_of(lambda: [cache.lookup(key_of("a")) for _ in range(1_000)])
        assert cache.lookup(key_of("a")) == Miss("unavailable")
    finally:
        os.kill(pid, signal.SIGCONT)

    assert BOUND * 0.9 < first < BOUND + SLACK
    assert then < BOUND + SLACK, "a thousand look-ups wait no longer than one"
    eventually(lambda: isinstance(cache.lookup(key_of("a")), Hit), "hits again")


def test_a_hundred_threads_at_a_server_that_hangs_wait_at_the_same_time(own_server):
    cache = cache_at(own_server.connection_url, IMPATIENT)
    cache.store(key_of("a"), "answer", tags={}, cost_nanos=None)
    pid = own_server.client().info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(100) as threads:
            waited = list(threads.map(seconds_of, [lambda: cache.lookup(key_of("a"))] * 100))
    finally:
        os.kill(pid, signal.SIGCONT)

    assert max(waited) < BOUND + SLACK
    assert cache.failures > 0


def test_a_server_that_is_gone_is_a_miss_within_the_bound(own_server):
    cache = cache_at(own_server.connection_url, IMPATIENT)
    assert cache.store(key_of("a"), "answer", tags={}, cost_nanos=None)
    own_server.stop()

    for _ in range(3):
        assert seconds_of(lambda: cache.lookup(key_of("a"))) < BOUND + SLACK
    assert cache.lookup(key_of("a")) == Miss("unavailable")
    assert cache.store(key_of("a"), "answer", tags={}, cost_nanos=None) is False


def test_everything_outlives_the_processes_and_the_scripts_of_the_server(valkey):
    cache_at(valkey.url, IMPATIENT).store(key_of("a"), "answer", tags={}, cost_nanos=None)
    with valkey.client() as client:
        client.script_flush()

    assert cache_at(valkey.url, IMPATIENT).lookup(key_of("a")).document == "answer"


def test_the_latency_of_a_hit_is_measured_beside_a_bare_get(valkey, record_property, capsys):
    """Reported, not asserted: what else runs on the machine decides it."""
    cache = cache_at(valkey.url, CachePolicy(timeout_seconds=10))
    client, key = connect_bounded(valkey.url, timeout_seconds=10), key_of("a")
    cache.store(key, {"output": "word " * 400, "model": "m"}, tags={"agent": "a"}, cost_nanos=1)
    client.set("bare", client.hget(SHARD.entries, key), ex=60)
    figures: dict[str, list[float]] = {"get": [], "hit": []}
    for _ in range(3_000):
        figures["get"].append(seconds_of(lambda: client.get("bare")) * 1e6)
        figures["hit"].append(seconds_of(lambda: cache.lookup(key)) * 1e6)

    with capsys.disabled():
        for name, each in figures.items():
            cuts = statistics.quantiles(each, n=100)
            record_property(f"{name}_p50_us", round(cuts[49], 1))
            sys.stdout.write(f"\n{name}: p50 {cuts[49]:.0f} us, p95 {cuts[94]:.0f} us")
    assert cache.stats().hits == 3_000
