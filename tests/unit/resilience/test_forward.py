"""Turns are handed out in advance; what makes room before them brings them forward."""

from __future__ import annotations

import pytest

from cf_workers.errors import ProviderDownError
from cf_workers.resilience import (
    Admitted,
    Ask,
    BreakerPolicy,
    FairnessPolicy,
    LimitsPolicy,
    Refused,
    WindowPolicy,
    answered,
    failed,
)
from tests.unit.resilience.conftest import SCOPE

PERMANENT_KEYS = ("cfw:guards", "cfw:guards:changes")

LIMITS = LimitsPolicy(requests_per_minute=600, burst_seconds=2)
NO_RESERVE = FairnessPolicy(interactive_reserve=0)
BROKEN = failed(ProviderDownError("scripted", {"status": 503}))
FINE = answered(input_tokens=1, output_tokens=1)


def drain(guard, **ask) -> list:
    permits = []
    while isinstance(told := guard.admit(Ask(SCOPE, **ask)), Admitted):
        permits.append(told.permit)
    return permits


def queue_up(guard, number: int, name: str = "r", **ask) -> list[float]:
    """So many are refused; how long each is told to wait."""
    told = [guard.admit(Ask(SCOPE, waiter=f"{name}{at}", **ask)) for at in range(number)]
    assert all(isinstance(one, Refused) for one in told)
    return [one.retry_in_seconds for one in told]


def forward(guard) -> list[str]:
    return [waiter.name for waiter in guard.forward(SCOPE)]


def test_as_many_are_brought_forward_as_the_buckets_have_enough_for(guard_with, server_time) -> None:
    guard = guard_with(limits=LIMITS, fairness=NO_RESERVE)
    drain(guard)
    queue_up(guard, 100)
    server_time.advance(0.85)  # 8 calls are possible; the turns of some have come by now
    coming = sum(due <= server_time.seconds + 0.1 for due in dues(guard))

    called = forward(guard)

    assert 0 < coming < 8
    assert len(called) == 8 - coming
    assert forward(guard) == []
    admitted = [isinstance(guard.admit(Ask(SCOPE, waiter=name)), Admitted) for name in called]
    assert all(admitted)


def dues(guard) -> list[float]:
    keys = guard._keys.guard(SCOPE.credential, SCOPE.model_class)
    return [due for _, due in guard._client.zrange(keys.waiters, 0, -1, withscores=True)]


def test_a_slot_that_comes_free_goes_to_the_next_in_the_line(guard_with, server_time) -> None:
    guard = guard_with(window=WindowPolicy(cap=5), fairness=NO_RESERVE)
    permits = drain(guard)
    waits = queue_up(guard, 20)
    assert forward(guard) == []

    server_time.advance(2)
    guard.settle(permits[0], FINE)
    guard.settle(permits[1], FINE)

    assert min(waits) >= 2
    assert forward(guard) == ["r0", "r1"]
    assert isinstance(guard.admit(Ask(SCOPE, waiter="r0")), Admitted)


def test_interactive_waiters_are_brought_forward_before_all_others(guard_with, server_time) -> None:
    guard = guard_with(window=WindowPolicy(cap=2), fairness=NO_RESERVE)
    permits = drain(guard, lane="interactive")
    queue_up(guard, 5, "batch")
    queue_up(guard, 1, "person", lane="interactive")

    for permit in permits:
        guard.settle(permit, FINE)

    assert forward(guard) == ["person0"]


def test_tenants_are_brought_forward_by_their_shares(guard_with, server_time) -> None:
    fairness = FairnessPolicy(interactive_reserve=0, weights={"a": 1, "b": 3})
    guard = guard_with(limits=LIMITS, fairness=fairness)
    drain(guard, tenant="c")
    for number in range(40):
        for name in "ab":
            queue_up(guard, 1, f"{name}{number}-", tenant=name)
    server_time.advance(2)

    called = forward(guard)
    coming = [waiter.split(b"\t")[1].decode() for waiter in coming_now(guard, server_time)]

    assert len(called) == len(set(called))
    assert len(coming) == 20  # as many as the bucket has enough for
    assert coming.count("b") == pytest.approx(15, abs=1)


def coming_now(guard, server_time) -> list[str]:
    keys = guard._keys.guard(SCOPE.credential, SCOPE.model_class)
    return guard._client.zrangebyscore(keys.waiters, "-inf", server_time.seconds + 0.1)


@pytest.fixture
def opened(guard_with):
    """A guard whose breaker is open for a minute, with many who wait for it."""
    rules = BreakerPolicy(
        consecutive_failures=3,
        cooldown_seconds=60,
        longest_cooldown_seconds=60,
        cooldown_jitter=0,
        probes=2,
        successes_to_close=2,
    )
    guard = guard_with(breaker=rules)
    for _ in range(3):
        guard.settle(guard.admit(Ask(SCOPE)).permit, BROKEN)
    waits = queue_up(guard, 200)
    assert min(waits) >= 60
    return guard


def test_nobody_is_brought_forward_while_the_breaker_is_open(opened, server_time) -> None:
    server_time.advance(30)

    assert forward(opened) == []


def test_a_reset_breaker_lets_those_who_wait_come_at_once_and_at_a_pace(opened, server_time) -> None:
    server_time.advance(5)
    opened.reset(SCOPE)

    came = []
    for _ in range(60):
        called = forward(opened)
        came.append(len(called))
        assert all(isinstance(opened.admit(Ask(SCOPE, waiter=name)), Admitted) for name in called)
        server_time.advance(0.1)

    assert 0 < came[0] <= 25
    assert max(came[1:]) <= 6
    assert sum(came) == 200


def test_a_breaker_that_its_probes_close_lets_those_come_whose_turn_is_far(opened, server_time) -> None:
    queue_up(opened, 300, "late")
    server_time.advance(60.05)
    probes = [opened.admit(Ask(SCOPE, waiter=f"r{number}")).permit for number in range(2)]
    assert all(probe.probe for probe in probes)
    assert forward(opened) == []
    for probe in probes:
        opened.settle(probe, FINE)

    called = forward(opened)

    assert opened.status(SCOPE).breaker.state == "closed"
    assert 0 < len(called) <= 25


def test_those_who_never_come_hold_nobody_up_for_longer_than_their_grace(guard_with, server_time) -> None:
    guard = guard_with(window=WindowPolicy(cap=2), fairness=NO_RESERVE)
    permits = drain(guard)
    queue_up(guard, 6)
    server_time.advance(2)
    for permit in permits:
        guard.settle(permit, FINE)
    assert forward(guard) == ["r0", "r1"]

    server_time.advance(5.2)

    assert forward(guard) == ["r2", "r3"]


def test_those_who_leave_the_line_make_room_in_it_at_once(guard_with, server_time) -> None:
    guard = guard_with(window=WindowPolicy(cap=2), fairness=NO_RESERVE)
    permits = drain(guard)
    queue_up(guard, 6)
    server_time.advance(2)
    for permit in permits:
        guard.settle(permit, FINE)

    guard.leave(SCOPE, guard.forward(SCOPE))

    assert forward(guard) == ["r2", "r3"]
    assert guard.status(SCOPE).waiters.total == 4


def test_calls_in_flight_that_will_soon_end_are_counted_as_free_where_calls_are_short(
    guard_with, server_time
) -> None:
    guard = guard_with(window=WindowPolicy(cap=10), fairness=NO_RESERVE)
    first = guard.admit(Ask(SCOPE)).permit
    server_time.advance(0.2)
    guard.settle(first, FINE)
    drain(guard)
    queue_up(guard, 50)

    assert len(forward(guard)) <= 5
