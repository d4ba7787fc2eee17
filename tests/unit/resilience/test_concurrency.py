from __future__ import annotations

import pytest

from cf_workers.errors import OverloadedError, RateLimitedError
from cf_workers.resilience import (
    Admitted,
    Ask,
    FairnessPolicy,
    Guard,
    Permit,
    Refused,
    WindowPolicy,
    answered,
    failed,
)
from tests.unit.resilience.conftest import SCOPE

PERMANENT_KEYS = ("cfw:guards",)

REPLY = answered(input_tokens=1, output_tokens=1)
OVERLOAD = failed(OverloadedError("scripted", {"status": 529}))
RAMP = failed(RateLimitedError("scripted", {"status": 429, "kind": "ramp_limit", "retry_after": 0.001}))
NO_RESERVE = FairnessPolicy(interactive_reserve=0)


def fill(guard: Guard, **ask) -> list[Permit]:
    """Admit until the window is full."""
    permits = []
    while isinstance(told := guard.admit(Ask(SCOPE, **ask)), Admitted):
        permits.append(told.permit)
    assert told.reason == "in_flight"
    return permits


def size(guard: Guard) -> int:
    found = guard.status(SCOPE).window.size
    assert found is not None
    return found


def test_the_cap_on_calls_in_flight_is_exact(guard_with) -> None:
    guard = guard_with(window=WindowPolicy(cap=7), fairness=NO_RESERVE)

    assert len(fill(guard)) == 7


def test_a_settled_call_makes_room_for_the_next(guard_with) -> None:
    guard = guard_with(window=WindowPolicy(cap=7), fairness=NO_RESERVE)
    permits = fill(guard)

    for permit in permits[:3]:
        guard.settle(permit, REPLY)

    assert len(fill(guard)) == 3


def test_without_a_cap_nothing_is_held_back_before_the_provider_objects(guard_with) -> None:
    guard = guard_with()

    told = [guard.admit(Ask(SCOPE)) for _ in range(300)]

    assert all(isinstance(one, Admitted) for one in told)
    assert guard.status(SCOPE).window.size is None


def test_an_unbounded_window_begins_with_half_of_what_was_in_flight(guard_with) -> None:
    guard = guard_with()
    permits = [guard.admit(Ask(SCOPE)).permit for _ in range(60)]

    guard.settle(permits[-1], OVERLOAD)

    assert size(guard) == 30


def test_many_objections_in_one_round_trip_halve_the_window_once(guard_with) -> None:
    guard = guard_with(window=WindowPolicy(cap=64), fairness=NO_RESERVE)
    permits = fill(guard)

    for permit in permits[:9]:
        guard.settle(permit, OVERLOAD)
    assert size(guard) == 32

    for permit in permits[9:]:
        guard.settle(permit, REPLY)
    guard.settle(guard.admit(Ask(SCOPE)).permit, OVERLOAD)
    assert size(guard) == 16


def test_answers_from_before_a_cut_do_not_widen_the_window(guard_with) -> None:
    guard = guard_with(window=WindowPolicy(cap=64), fairness=NO_RESERVE)
    permits = fill(guard)
    guard.settle(permits.pop(), OVERLOAD)

    for permit in permits:
        guard.settle(permit, REPLY)

    assert size(guard) == 32


def test_it_grows_fast_up_to_half_of_the_window_that_was_too_large_and_then_slowly(guard_with) -> None:
    guard = guard_with(window=WindowPolicy(cap=64), fairness=NO_RESERVE)
    permits = fill(guard)
    for _ in range(2):  # two cuts in two round trips, with nothing answered in between
        for permit in permits:
            guard.settle(permit, OVERLOAD)
        guard.reset(SCOPE)
        permits = fill(guard)
    assert size(guard) == 16

    sizes = []
    for _ in range(4):
        for permit in permits:
            guard.settle(permit, REPLY)
        sizes.append(size(guard))
        permits = fill(guard)

    assert sizes[0] >= 24
    assert 31 <= sizes[1] <= 33
    assert 1 <= sizes[3] - sizes[1] <= 3


def test_a_ramp_limit_makes_even_the_recovery_slow(guard_with, server_time) -> None:
    guard = guard_with(window=WindowPolicy(cap=64), fairness=NO_RESERVE)
    for permit in fill(guard):
        guard.settle(permit, RAMP)
    assert size(guard) == 32
    server_time.advance(1)

    for permit in fill(guard):
        guard.settle(permit, REPLY)

    assert size(guard) <= 33


def test_it_never_grows_beyond_the_cap_nor_falls_below_the_least(guard_with) -> None:
    guard = guard_with(window=WindowPolicy(cap=10, least=4), fairness=NO_RESERVE)
    for _ in range(4):
        guard.settle(guard.admit(Ask(SCOPE)).permit, OVERLOAD)
        guard.reset(SCOPE)
    assert size(guard) == 4

    for _ in range(12):
        for permit in fill(guard):
            guard.settle(permit, REPLY)

    assert size(guard) == 10


def test_an_unused_window_does_not_grow(guard_with) -> None:
    guard = guard_with(window=WindowPolicy(cap=64), fairness=NO_RESERVE)
    permits = fill(guard)
    guard.settle(permits.pop(), OVERLOAD)
    for permit in permits:
        guard.settle(permit, REPLY)

    for _ in range(50):
        guard.settle(guard.admit(Ask(SCOPE)).permit, REPLY)

    assert size(guard) == 32


def test_the_slots_of_a_dead_worker_come_back_when_its_leases_end(guard_with, server_time) -> None:
    guard = guard_with(window=WindowPolicy(cap=5, lease_seconds=10), fairness=NO_RESERVE)
    dead = fill(guard)
    server_time.advance(10.01)

    assert len(fill(guard)) == 5
    assert guard.status(SCOPE).window.lost == 5
    assert guard.settle(dead[0], REPLY).known is False


def test_a_renewed_call_counts_for_as_long_as_it_lasts(guard_with, server_time) -> None:
    guard = guard_with(window=WindowPolicy(cap=5, lease_seconds=10), fairness=NO_RESERVE)
    permits = fill(guard)
    for _ in range(5):
        server_time.advance(6)
        assert guard.renew(permits[:2]) == frozenset()

    assert len(fill(guard)) == 3
    assert guard.renew(permits) == frozenset(permits[2:])


def test_interactive_calls_find_slots_that_batch_work_has_left_them(guard_with) -> None:
    guard = guard_with(window=WindowPolicy(cap=20), fairness=FairnessPolicy(interactive_reserve=0.1))

    assert len(fill(guard, lane="batch")) == 18
    assert len(fill(guard, lane="interactive")) == 2


def test_a_freed_slot_goes_to_the_interactive_call_that_waits(guard_with) -> None:
    guard = guard_with(window=WindowPolicy(cap=3), fairness=FairnessPolicy(interactive_reserve=0))
    permits = fill(guard, lane="batch")
    guard.admit(Ask(SCOPE, lane="interactive", waiter="person"))

    guard.settle(permits[0], REPLY)

    told = guard.admit(Ask(SCOPE, lane="batch", waiter="r1"))
    assert isinstance(told, Refused)
    assert told.reason == "priority"
    assert isinstance(guard.admit(Ask(SCOPE, lane="interactive", waiter="person")), Admitted)


def test_a_cap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        WindowPolicy(cap=0)
