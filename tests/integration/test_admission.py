"""The guards on a real server, asked by several processes at once."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator

import pytest

from cf_workers._redis import Keys, connect
from cf_workers.errors import ProviderDownError
from cf_workers.resilience import (
    Admitted,
    Ask,
    BreakerPolicy,
    FairnessPolicy,
    Guard,
    GuardPolicy,
    LimitsPolicy,
    Scope,
    WindowPolicy,
    answered,
    failed,
)
from tests.support import Processes, Store, eventually

pytestmark = pytest.mark.integration
PERMANENT_KEYS = ("cfw:guards", "go")

SCOPE = Scope("c", "opus")
REPLY = answered(input_tokens=1, output_tokens=1)
PROCESSES, THREADS = 8, 4

ASKING = """
import json, sys, threading
from cf_workers._redis import Keys, connect
from cf_workers.resilience import *
from tests.support import eventually

url, threads, asks, policy = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
client = connect(url, timeout_seconds=10)
guard = Guard(client, Keys(), GuardPolicy(
    limits=LimitsPolicy(**policy.get("limits", {})), window=WindowPolicy(**policy.get("window", {})),
    fairness=FairnessPolicy(interactive_reserve=0)))
admitted = []
def work():
    for _ in range(asks):
        told = guard.admit(Ask(Scope("c", "opus"), input_tokens=10))
        if isinstance(told, Admitted):
            assert not told.permit.blind
            admitted.append(told.permit.id)
guard.status(Scope("c", "opus"))
print("waiting", flush=True)
eventually(lambda: client.get("go"), "the start", timeout=60)
workers = [threading.Thread(target=work) for _ in range(threads)]
for worker in workers: worker.start()
for worker in workers: worker.join()
print("RESULT", json.dumps(admitted), flush=True)
"""


def ask_from_many(processes: Processes, valkey: Store, asks: int, policy: dict) -> list[str]:
    """Ask from all processes at the same time; the permits of all."""
    words = ["-c", ASKING, valkey.url, str(THREADS), str(asks), json.dumps(policy)]
    children = [processes.python(*words, until=None) for _ in range(PROCESSES)]
    for child in children:
        child.wait_for("waiting", timeout=60)
    with valkey.client() as client:
        client.set("go", 1, ex=60)
    for child in children:
        assert child.wait(timeout=60) == 0, child.tail()
    results = [line for child in children for line in child.output().splitlines() if "RESULT" in line]
    return [permit for line in results for permit in json.loads(line.removeprefix("RESULT "))]


@pytest.fixture
def client(valkey: Store) -> Iterator:
    client = connect(valkey.url, timeout_seconds=10)
    yield client
    client.connection_pool.disconnect()


def guard_on(client, **policies) -> Guard:
    return Guard(client, Keys(), GuardPolicy(**policies))


def test_the_cap_on_calls_in_flight_is_exact_across_processes(processes, valkey, client) -> None:
    permits = ask_from_many(processes, valkey, 20, {"window": {"cap": 37}})

    assert len(permits) == len(set(permits)) == 37
    assert guard_on(client).status(SCOPE).window.in_flight == 37


def test_a_bucket_is_exact_across_processes(processes, valkey, client) -> None:
    # Refills by one request an hour: what is admitted is what it held.
    limits = {"requests_per_minute": 1 / 60, "burst_seconds": 3600 * 123}
    permits = ask_from_many(processes, valkey, 20, {"limits": limits})

    assert len(permits) == len(set(permits)) == 123


def test_threads_get_no_more_probes_than_allowed(client) -> None:
    policy = BreakerPolicy(consecutive_failures=1, cooldown_seconds=0.05, probes=3)
    guard = guard_on(client, breaker=policy)
    told = guard.admit(Ask(SCOPE))
    guard.settle(told.permit, failed(ProviderDownError("scripted", {"status": 500})))
    found = []
    start = threading.Barrier(16)

    def ask() -> None:
        start.wait()
        for _ in range(10):
            one = guard.admit(Ask(SCOPE))
            if isinstance(one, Admitted):
                found.append(one.permit)

    eventually(lambda: client.time() and guard.status(SCOPE).breaker.state == "open", "the breaker to open")
    threads = [threading.Thread(target=ask) for _ in range(16)]
    eventually(lambda: guard.status(SCOPE).now > guard.status(SCOPE).breaker.until, "the cooldown to end")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 3
    assert all(permit.probe for permit in found)


def test_slots_taken_and_given_back_by_many_threads_add_up(client) -> None:
    guard = guard_on(client, window=WindowPolicy(cap=5), fairness=FairnessPolicy(interactive_reserve=0))
    lock = threading.Lock()
    holding = most = served = 0

    def work() -> None:
        nonlocal holding, most, served
        for _ in range(60):
            told = guard.admit(Ask(SCOPE))
            if not isinstance(told, Admitted):
                continue
            with lock:
                holding += 1
                most = max(most, holding)
            with lock:
                holding -= 1
                served += 1
            guard.settle(told.permit, REPLY)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 <= most <= 5
    assert served > 60
    assert guard.status(SCOPE).window.in_flight == 0
    assert guard.failures == 0


def test_an_admission_takes_the_server_less_than_a_millisecond(client) -> None:
    limits = LimitsPolicy(10**9, 10**12, 10**12)
    guard = guard_on(client, limits=limits)
    for tenant in "abcdefgh":
        guard.admit(Ask(SCOPE, tenant=tenant, waiter="w"))
    client.config_resetstat()
    headers = {"requests-limit": "1000000000", "requests-remaining": "999999999"}

    for number in range(500):
        told = guard.admit(Ask(SCOPE, 1000, 500, tenant="a", waiter=f"w{number}"))
        guard.settle(told.permit, answered(input_tokens=900, output_tokens=50, rate_limits=headers))

    assert client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"] < 1000


def test_a_refusal_while_the_breaker_is_open_is_quick(client) -> None:
    guard = guard_on(client, breaker=BreakerPolicy(consecutive_failures=1, cooldown_seconds=60))
    told = guard.admit(Ask(SCOPE))
    guard.settle(told.permit, failed(ProviderDownError("scripted", {"status": 500})))

    seconds = []
    for number in range(300):
        started = time.perf_counter()
        one = guard.admit(Ask(SCOPE, waiter=f"w{number}"))
        seconds.append(time.perf_counter() - started)
        assert not isinstance(one, Admitted)

    assert statistics.quantiles(seconds, n=100)[98] < 0.05
