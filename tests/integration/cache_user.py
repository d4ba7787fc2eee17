"""A process that uses the cache: `python -m tests.integration.cache_user MODE URL …`."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import time
from dataclasses import replace

from cf_workers._redis import Keys, connect_bounded
from cf_workers.cache import Alone, Cache, CachePolicy, Follow, Hit, Lead
from cf_workers.cache.secret import GivenSecret

SECRET = GivenSecret(b"a secret of the test")
LIMIT = 20_000
LOAD_POLICY = CachePolicy(max_bytes=LIMIT, compress_above_bytes=2_000, timeout_seconds=10)
HASTY_POLICY = replace(LOAD_POLICY, ttl_seconds=0.01, stale_seconds=0.01)
FLIGHT_POLICY = CachePolicy(lease_seconds=1.0, timeout_seconds=10)
TAMPER = """
local entry = redis.call('HGET', KEYS[1], ARGV[1])
if entry then redis.call('HSET', KEYS[1], ARGV[1], string.rep('x', #entry)) end
"""
ASKED = "asked"
"""Counts the calls that were made."""


def cache_at(url: str, policy: CachePolicy) -> Cache:
    return Cache(connect_bounded(url, timeout_seconds=policy.timeout_seconds), Keys(), SECRET, policy=policy)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def key_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def mixed_operations(url: str, seed: str, count: str) -> None:
    """Store, look up, invalidate, clear and tamper; every answer found must be one that was stored."""
    cache = cache_at(url, HASTY_POLICY if int(seed) % 2 else LOAD_POLICY)
    chance = random.Random(int(seed))
    direct = connect_bounded(url, timeout_seconds=10)
    entries = Keys().cache_shard(0).entries
    tamper = direct.register_script(TAMPER)
    for _ in range(int(count)):
        name, what = chance.randrange(60), chance.random()
        key = key_of(name)
        if what < 0.45:
            document = {"name": name, "text": "ab" * chance.randrange(2_500)}
            cache.store(key, document, tags={"agent": str(name % 3)}, cost_nanos=chance.randrange(99))
        elif what < 0.96:
            found = cache.lookup(key, allow_stale=what > 0.9)
            assert not isinstance(found, Hit) or found.document["name"] == name
        elif what < 0.985:
            tamper(keys=[entries], args=[key])
        elif what < 0.998:
            cache.invalidate(agent=str(name % 3), older_than_seconds=chance.choice([0.05, 0.2]))
        else:
            cache.clear()
    assert cache.failures == 0
    say("done.")


def identical_calls(url: str, name: str, count: str, seconds: str) -> None:
    """Want the same answer many times, making the call only when it is this process's turn."""
    cache = cache_at(url, FLIGHT_POLICY)
    say("ready.")
    for number in range(int(count)):
        say(_answer(cache, url, f"{name}-{number}", float(seconds)))
    say("done.")


def _answer(cache: Cache, url: str, name: str, seconds: float) -> str:
    key, attempt = key_of("the same call"), 0
    while True:
        attempt += 1
        standing = cache.seek(key, holder=f"{name}/{attempt}", waiter=name)
        if isinstance(standing, Hit):
            return standing.document
        assert not isinstance(standing, Alone)
        if isinstance(standing, Follow):
            time.sleep(0.01)  # nobody wakes this process: it looks again
        if isinstance(standing, Lead):
            with cache.leading(standing):
                say("leading.")
                connect_bounded(url, timeout_seconds=10).incr(ASKED)
                time.sleep(seconds)  # the call takes a while
                cache.complete(standing, f"the answer of {os.getpid()}", tags={}, cost_nanos=1)


if __name__ == "__main__":
    {"mixed": mixed_operations, "identical": identical_calls}[sys.argv[1]](*sys.argv[2:])
