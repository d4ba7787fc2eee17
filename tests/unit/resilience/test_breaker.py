from __future__ import annotations

import pytest

from cf_workers.errors import CallRejectedError, CallTimeoutError, ProviderDownError, RateLimitedError
from cf_workers.resilience import (
    Admitted,
    Ask,
    BreakerPolicy,
    Guard,
    Permit,
    Refused,
    WindowPolicy,
    answered,
    failed,
)
from tests.unit.resilience.conftest import SCOPE

PERMANENT_KEYS = ("cfw:guards",)

REPLY = answered(input_tokens=10, output_tokens=10)
FAULT = failed(ProviderDownError("scripted", {"status": 503}))
POLICY = BreakerPolicy(
    consecutive_failures=5,
    minimum_calls=10,
    cooldown_seconds=10,
    cooldown_jitter=0,
    probes=2,
    successes_to_close=2,
)


@pytest.fixture
def guard(guard_with) -> Guard:
    return guard_with(breaker=POLICY)


def admitted(guard: Guard) -> Permit:
    told = guard.admit(Ask(SCOPE))
    assert isinstance(told, Admitted), told
    return told.permit


def call(guard: Guard, ending) -> list[str]:
    return [str(change) for change in guard.settle(admitted(guard), ending).changes]


def open_breaker(guard: Guard) -> None:
    for _ in range(POLICY.consecutive_failures):
        call(guard, FAULT)
    assert guard.status(SCOPE).breaker.state == "open"


def test_consecutive_faults_open_it_and_the_change_is_reported_once(guard) -> None:
    reported = [call(guard, FAULT) for _ in range(5)]

    assert reported == [[], [], [], [], ["breaker c/opus: closed -> open (consecutive_failures)"]]


def test_a_success_between_faults_starts_the_count_anew(guard) -> None:
    for ending in [FAULT] * 4 + [REPLY] + [FAULT] * 4:
        call(guard, ending)

    assert guard.status(SCOPE).breaker.state == "closed"


def test_a_high_rate_of_faults_opens_it_once_there_are_enough_calls(guard) -> None:
    changes = [change for _ in range(5) for ending in (REPLY, FAULT) for change in call(guard, ending)]

    assert changes == ["breaker c/opus: closed -> open (failure_rate)"]


def test_faults_that_left_the_window_count_no_more(guard, server_time) -> None:
    for _ in range(4):
        call(guard, FAULT)
    server_time.advance(POLICY.window_seconds + 1)
    for _ in range(6):
        call(guard, REPLY)

    assert guard.status(SCOPE).breaker.faults == 0
    assert guard.status(SCOPE).breaker.state == "closed"


@pytest.mark.parametrize(
    "error",
    [
        CallRejectedError("scripted", {"status": 400}),
        RateLimitedError("scripted", {"status": 429, "retry_after": 0.001}),
    ],
)
def test_what_is_not_the_providers_fault_never_opens_it(guard, server_time, error) -> None:
    for _ in range(30):
        call(guard, failed(error))
        server_time.advance(0.1)

    assert guard.status(SCOPE).breaker.state == "closed"


def test_timeouts_open_it(guard) -> None:
    for _ in range(5):
        call(guard, failed(CallTimeoutError("scripted", {"kind": "timeout"})))

    assert guard.status(SCOPE).breaker.state == "open"


def test_while_open_it_refuses_and_says_when_it_is_worth_asking_again(guard) -> None:
    open_breaker(guard)

    told = guard.admit(Ask(SCOPE, waiter="r1"))

    assert isinstance(told, Refused)
    assert told.reason == "breaker_open"
    assert told.retry_in_seconds == pytest.approx(10, abs=0.01)


def test_those_it_refuses_come_back_as_few_probes_first_and_then_spread(guard) -> None:
    open_breaker(guard)

    waits = [guard.admit(Ask(SCOPE, waiter=f"r{number}")).retry_in_seconds for number in range(50)]

    assert [round(wait, 2) for wait in waits[:2]] == [10, 10]
    assert len({round(wait, 3) for wait in waits[2:]}) == 48
    assert max(waits) < 12.5


def test_half_open_lets_only_as_many_probes_through_as_allowed(guard, server_time) -> None:
    open_breaker(guard)
    server_time.advance(10.1)

    told = [guard.admit(Ask(SCOPE)) for _ in range(20)]

    assert [one.permit.probe for one in told if isinstance(one, Admitted)] == [True, True]
    assert {one.reason for one in told if isinstance(one, Refused)} == {"breaker_half_open"}
    assert [str(change) for change in told[0].changes] == [
        "breaker c/opus: open -> half_open (cooldown_over)"
    ]


def test_it_closes_when_its_probes_are_answered(guard, server_time) -> None:
    open_breaker(guard)
    server_time.advance(10.1)
    probes = [admitted(guard), admitted(guard)]

    first, second = (guard.settle(probe, REPLY).changes for probe in probes)

    assert first == ()
    assert [str(change) for change in second] == ["breaker c/opus: half_open -> closed (probes_succeeded)"]
    assert not admitted(guard).probe


def test_a_failed_probe_opens_it_for_longer_up_to_a_bound(guard, server_time) -> None:
    open_breaker(guard)
    cooldowns = []
    for _ in range(4):
        server_time.advance(guard.status(SCOPE).breaker.until - server_time.seconds + 0.01)
        (change,) = guard.settle(admitted(guard), FAULT).changes
        cooldowns.append(round(change.until - change.at))

    assert cooldowns == [20, 30, 30, 30]


def test_after_a_calm_time_it_starts_again_with_the_first_cooldown(guard, server_time) -> None:
    open_breaker(guard)
    server_time.advance(10.1)
    for probe in [admitted(guard), admitted(guard)]:
        guard.settle(probe, REPLY)
    server_time.advance(POLICY.calm_seconds + 1)

    open_breaker(guard)

    breaker = guard.status(SCOPE).breaker
    assert breaker.until - breaker.since == pytest.approx(10, abs=0.01)


def test_the_probe_of_a_dead_worker_is_given_to_another(guard_with, server_time) -> None:
    guard = guard_with(breaker=POLICY, window=WindowPolicy(lease_seconds=8))
    open_breaker(guard)
    server_time.advance(10.1)
    admitted(guard), admitted(guard)
    assert isinstance(guard.admit(Ask(SCOPE)), Refused)

    server_time.advance(8.1)

    assert admitted(guard).probe


def test_late_faults_of_an_outage_do_not_open_a_breaker_that_has_closed(guard, server_time) -> None:
    late = [admitted(guard) for _ in range(20)]
    for _ in range(POLICY.consecutive_failures):
        guard.settle(late.pop(), FAULT)
    server_time.advance(10.1)
    for probe in [admitted(guard), admitted(guard)]:
        guard.settle(probe, REPLY)

    for permit in late:
        guard.settle(permit, FAULT)

    assert guard.status(SCOPE).breaker.state == "closed"


def test_a_probe_that_is_told_no_shows_that_the_provider_is_up(guard, server_time) -> None:
    open_breaker(guard)
    server_time.advance(10.1)

    for probe in [admitted(guard), admitted(guard)]:
        guard.settle(probe, failed(CallRejectedError("scripted", {"status": 400})))

    assert guard.status(SCOPE).breaker.state == "closed"


def test_reset_closes_it_and_reports_it(guard) -> None:
    open_breaker(guard)

    (change,) = guard.reset(SCOPE)

    assert str(change) == "breaker c/opus: open -> closed (reset)"
    assert admitted(guard).probe is False
    assert guard.status(SCOPE).breaker.consecutive_faults == 0


def test_scopes_do_not_share_a_breaker(guard) -> None:
    open_breaker(guard)

    other = type(SCOPE)("c", "haiku")

    assert isinstance(guard.admit(Ask(other)), Admitted)
    assert guard.scopes() == [other, SCOPE]


def test_a_policy_that_cannot_work_is_refused() -> None:
    with pytest.raises(ValueError, match="failure_rate"):
        BreakerPolicy(failure_rate=0)
    with pytest.raises(ValueError, match="at least 1"):
        BreakerPolicy(probes=0)
