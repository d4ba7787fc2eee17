from __future__ import annotations

import pytest

from cf_workers.errors import CallRejectedError, OverloadedError, RateLimitedError
from cf_workers.resilience import (
    Admitted,
    Ask,
    FairnessPolicy,
    LimitsPolicy,
    Refused,
    answered,
    failed,
    never_sent,
)
from cf_workers.resilience.limits import read_headers
from tests.unit.resilience.conftest import SCOPE

PERMANENT_KEYS = ("cfw:guards",)

NO_RESERVE = FairnessPolicy(interactive_reserve=0)


def level(guard, kind: str) -> float:
    return guard.status(SCOPE).buckets[kind].level


def test_a_burst_empties_the_bucket_and_it_refills_continuously(guard_with, server_time) -> None:
    guard = guard_with(limits=LimitsPolicy(requests_per_minute=60, burst_seconds=5), fairness=NO_RESERVE)

    told = [guard.admit(Ask(SCOPE)) for _ in range(6)]
    assert [isinstance(one, Admitted) for one in told] == [True] * 5 + [False]
    assert told[-1].reason == "requests"
    server_time.advance(1)

    assert isinstance(guard.admit(Ask(SCOPE)), Admitted)
    assert isinstance(guard.admit(Ask(SCOPE)), Refused)


def test_the_refused_are_told_when_there_will_be_enough(guard_with) -> None:
    limits = LimitsPolicy(input_tokens_per_minute=60_000, burst_seconds=2)
    guard = guard_with(limits=limits, fairness=NO_RESERVE)
    guard.admit(Ask(SCOPE, input_tokens=2000))

    told = guard.admit(Ask(SCOPE, input_tokens=1500, waiter="r1"))

    assert told.reason == "input_tokens"
    assert 1.5 <= told.retry_in_seconds <= 3.0


def test_a_call_larger_than_the_bucket_passes_when_it_is_full(guard_with, server_time) -> None:
    guard = guard_with(limits=LimitsPolicy(input_tokens_per_minute=60_000, burst_seconds=2))
    large = Ask(SCOPE, input_tokens=10_000)

    assert isinstance(guard.admit(large), Admitted)
    assert level(guard, "input_tokens") == pytest.approx(-8000)
    assert isinstance(guard.admit(Ask(SCOPE)), Refused)
    server_time.advance(10)
    assert isinstance(guard.admit(large), Admitted)


def test_settling_gives_back_what_was_reserved_too_much_and_takes_what_was_too_little(guard_with) -> None:
    limits = LimitsPolicy(input_tokens_per_minute=60_000, output_tokens_per_minute=60_000)
    guard = guard_with(limits=limits)
    told = guard.admit(Ask(SCOPE, input_tokens=3000, output_tokens=1000))

    guard.settle(told.permit, answered(input_tokens=1000, output_tokens=6000))

    assert level(guard, "input_tokens") == pytest.approx(4000)
    assert level(guard, "output_tokens") == pytest.approx(-1000)


@pytest.mark.parametrize(
    ("ending", "input_tokens", "requests"),
    [
        (never_sent(), 5000, 5),
        (failed(CallRejectedError("scripted", {"status": 400})), 5000, 4),
        (failed(RateLimitedError("scripted", {"status": 429})), 5000, 5),
        (failed(OverloadedError("scripted", {"status": 529})), 2000, 4),
    ],
)
def test_a_failed_call_is_charged_as_the_provider_may_have_counted_it(
    guard_with, ending, input_tokens, requests
) -> None:
    guard = guard_with(limits=LimitsPolicy(60, 60_000))
    told = guard.admit(Ask(SCOPE, input_tokens=3000))

    guard.settle(told.permit, ending)

    assert level(guard, "input_tokens") == pytest.approx(input_tokens)
    assert level(guard, "requests") == pytest.approx(requests)


def test_a_permit_is_settled_once(guard_with) -> None:
    guard = guard_with(limits=LimitsPolicy(input_tokens_per_minute=60_000))
    told = guard.admit(Ask(SCOPE, input_tokens=3000))
    ending = answered(input_tokens=1000, output_tokens=1)

    assert [guard.settle(told.permit, ending).known for _ in range(3)] == [True, False, False]
    assert level(guard, "input_tokens") == pytest.approx(4000)


def test_limits_are_learnt_from_the_headers(guard_with) -> None:
    guard = guard_with()
    headers = {"anthropic-ratelimit-requests-limit": "60", "anthropic-ratelimit-requests-remaining": "59"}
    told = guard.admit(Ask(SCOPE))

    guard.settle(told.permit, answered(input_tokens=1, output_tokens=1, rate_limits=headers))

    assert guard.status(SCOPE).buckets["requests"].per_minute == pytest.approx(60)
    assert sum(isinstance(guard.admit(Ask(SCOPE)), Admitted) for _ in range(20)) == 4


@pytest.mark.parametrize(("told", "expected"), [("30", 30), ("6000", 60)])
def test_the_lower_one_of_our_limit_and_the_providers_holds(guard_with, told, expected) -> None:
    guard = guard_with(limits=LimitsPolicy(requests_per_minute=60))
    permit = guard.admit(Ask(SCOPE)).permit

    guard.settle(permit, answered(input_tokens=1, output_tokens=1, rate_limits={"requests-limit": told}))

    assert guard.status(SCOPE).buckets["requests"].per_minute == pytest.approx(expected)


def test_what_the_provider_says_remains_lowers_the_level_and_never_raises_it(guard_with) -> None:
    guard = guard_with(limits=LimitsPolicy(requests_per_minute=600))
    permits = [guard.admit(Ask(SCOPE)).permit for _ in range(10)]

    def settle(remaining: int) -> float:
        headers = {"requests-limit": "600", "requests-remaining": str(remaining)}
        guard.settle(permits.pop(), answered(input_tokens=1, output_tokens=1, rate_limits=headers))
        return level(guard, "requests")

    assert settle(599) == pytest.approx(40)
    assert settle(7) == pytest.approx(7)
    assert settle(300) == pytest.approx(7)


def test_a_missing_estimate_of_the_output_is_what_calls_have_been_producing(guard_with) -> None:
    guard = guard_with(limits=LimitsPolicy(output_tokens_per_minute=60_000))
    permit = guard.admit(Ask(SCOPE)).permit
    guard.settle(permit, answered(input_tokens=1, output_tokens=800))

    guard.admit(Ask(SCOPE))

    assert level(guard, "output_tokens") == pytest.approx(5000 - 800 - 800)


def test_a_class_of_models_can_have_limits_of_its_own(guard_with) -> None:
    guard = guard_with(limits_by_class={"opus": LimitsPolicy(requests_per_minute=12)})

    assert isinstance(guard.admit(Ask(SCOPE)), Admitted)
    assert isinstance(guard.admit(Ask(SCOPE)), Refused)
    assert isinstance(guard.admit(Ask(type(SCOPE)("c", "haiku"))), Admitted)


def test_headers_that_are_no_numbers_are_passed_over() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "many",
        "Anthropic-RateLimit-Input-Tokens-Remaining": "1000",
        "input-tokens-reset": "2026-11-21T00:00:00Z",
        "content-type": "application/json",
    }

    assert read_headers(headers) == {"input_tokens": {"remaining": 1000}}


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        LimitsPolicy(requests_per_minute=0)
