from __future__ import annotations

import pytest

from cf_workers.resilience import Admitted, Ask, FairnessPolicy, LimitsPolicy, Refused, answered
from tests.unit.resilience.conftest import SCOPE

PERMANENT_KEYS = ("cfw:guards",)

LIMITS = LimitsPolicy(requests_per_minute=600, burst_seconds=2)


def drain(guard, **ask) -> None:
    while isinstance(guard.admit(Ask(SCOPE, **ask)), Admitted):
        pass


def test_a_tenant_alone_may_use_everything(guard_with, server_time) -> None:
    guard = guard_with(limits=LIMITS, fairness=FairnessPolicy(weights={"a": 1, "b": 9}))
    drain(guard, tenant="a")

    admitted = 0
    for _ in range(100):
        server_time.advance(0.1)
        admitted += isinstance(guard.admit(Ask(SCOPE, tenant="a", waiter="r1")), Admitted)

    assert admitted >= 98


def test_a_tenant_that_is_ahead_steps_back_for_one_that_waits(guard_with, server_time) -> None:
    guard = guard_with(limits=LIMITS, fairness=FairnessPolicy(slack_calls=0))
    drain(guard, tenant="a")
    assert isinstance(guard.admit(Ask(SCOPE, tenant="b", waiter="b1")), Refused)
    server_time.advance(0.3)

    told = guard.admit(Ask(SCOPE, tenant="a", waiter="a1"))

    assert isinstance(told, Refused)
    assert told.reason == "share"
    assert isinstance(guard.admit(Ask(SCOPE, tenant="b", waiter="b1")), Admitted)


def test_a_tenant_that_does_not_come_at_its_turn_holds_nobody_up(guard_with, server_time) -> None:
    guard = guard_with(limits=LIMITS)
    drain(guard, tenant="a")
    guard.admit(Ask(SCOPE, tenant="b", waiter="gone"))

    admitted = 0
    for _ in range(200):
        server_time.advance(0.1)
        admitted += isinstance(guard.admit(Ask(SCOPE, tenant="a", waiter="r1")), Admitted)

    assert admitted >= 180


def test_who_was_idle_has_saved_nothing_up(guard_with, server_time) -> None:
    guard = guard_with(limits=LIMITS)
    for _ in range(80):
        guard.admit(Ask(SCOPE, tenant="a"))
        server_time.advance(0.1)
    drain(guard, tenant="a")
    for tenant in "ab":
        guard.admit(Ask(SCOPE, tenant=tenant, waiter=f"{tenant}0"))

    admitted = {"a": 0, "b": 0}
    for number in range(1, 400):
        server_time.advance(0.05)
        for tenant in "ba":
            told = guard.admit(Ask(SCOPE, tenant=tenant, waiter=f"{tenant}{number // 40}"))
            admitted[tenant] += isinstance(told, Admitted)

    assert admitted["a"] == pytest.approx(admitted["b"], rel=0.1)


def test_a_tenant_that_asks_more_often_gets_no_more(guard_with, server_time) -> None:
    guard = guard_with(limits=LIMITS)
    drain(guard)

    admitted = {"a": 0, "b": 0}
    for number in range(1, 200):
        server_time.advance(0.1)
        for tenant in "aaab":
            told = guard.admit(Ask(SCOPE, tenant=tenant, waiter=f"{tenant}{number // 40}"))
            admitted[tenant] += isinstance(told, Admitted)

    assert admitted["a"] == pytest.approx(admitted["b"], rel=0.1)


def test_an_interactive_call_passes_when_batch_work_has_used_up_its_part(guard_with) -> None:
    guard = guard_with(limits=LIMITS)
    drain(guard, lane="batch", waiter=None)

    assert isinstance(guard.admit(Ask(SCOPE, lane="interactive")), Admitted)


def test_a_newcomer_queues_behind_those_who_wait(guard_with, server_time) -> None:
    guard = guard_with(limits=LIMITS, fairness=FairnessPolicy(interactive_reserve=0))
    drain(guard)
    guard.admit(Ask(SCOPE, waiter="first"))
    server_time.advance(0.15)

    told = guard.admit(Ask(SCOPE, waiter="second"))

    assert isinstance(told, Refused)
    assert told.reason == "queue"
    assert isinstance(guard.admit(Ask(SCOPE, waiter="first")), Admitted)


def test_turns_are_given_a_little_slower_than_the_pace_of_admission(guard_with) -> None:
    guard = guard_with(limits=LIMITS)
    drain(guard)

    waits = [guard.admit(Ask(SCOPE, waiter=f"r{number}")).retry_in_seconds for number in range(300)]

    assert 35 < max(waits) < 39
    for start in range(35):
        assert 5 <= sum(start <= wait < start + 1 for wait in waits) <= 11


def test_who_just_misses_at_its_turn_does_not_go_back_to_the_end_of_the_line(guard_with, server_time) -> None:
    guard = guard_with(limits=LIMITS)
    drain(guard)
    turn = guard.admit(Ask(SCOPE, waiter="first")).retry_in_seconds
    for number in range(100):
        guard.admit(Ask(SCOPE, waiter=f"r{number}"))
    server_time.advance(turn)
    drain(guard, lane="interactive")

    again = guard.admit(Ask(SCOPE, waiter="first")).retry_in_seconds

    assert again < 1


def test_nobody_gets_a_turn_beyond_the_longest_wait(guard_with) -> None:
    guard = guard_with(limits=LIMITS, fairness=FairnessPolicy(longest_wait_seconds=10))
    drain(guard)

    waits = [guard.admit(Ask(SCOPE, waiter=f"r{number}")).retry_in_seconds for number in range(300)]

    assert max(waits) < 11
    assert len({round(wait, 4) for wait in waits}) > 290


def test_status_shows_who_waits_and_why(guard_with) -> None:
    guard = guard_with(limits=LIMITS)
    drain(guard, lane="interactive")
    guard.admit(Ask(SCOPE, tenant="a", waiter="r1"))
    guard.admit(Ask(SCOPE, tenant="b", waiter="r2", lane="interactive"))

    document = guard.status(SCOPE).document()

    assert document["waiters"] == {
        "total": 2,
        "reasons": {"requests": 2},
        "tenants": {"a": 1, "b": 1},
        "lanes": {"batch": 1, "interactive": 1},
    }
    assert document["buckets"]["requests"]["fill"] < 0.1
    assert document["window"]["in_flight"] == 20


def test_a_waiter_leaves_the_line_when_it_is_admitted(guard_with, server_time) -> None:
    guard = guard_with(limits=LIMITS)
    drain(guard)
    guard.admit(Ask(SCOPE, waiter="r1"))
    server_time.advance(1)

    told = guard.admit(Ask(SCOPE, waiter="r1"))
    guard.settle(told.permit, answered(input_tokens=1, output_tokens=1))

    assert guard.status(SCOPE).waiters.total == 0


@pytest.mark.parametrize("policy", [{"weights": {"a": 0}}, {"interactive_reserve": 1.0}])
def test_a_share_that_cannot_be_given_is_refused(policy) -> None:
    with pytest.raises(ValueError, match=r"weight|interactive_reserve"):
        FairnessPolicy(**policy)
