from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cf_workers.errors import RateLimitedError, SpendLimitError
from cf_workers.resilience import Admitted, Ask, GatePolicy, Refused, answered, failed
from cf_workers.resilience.gate import MONTHLY_CODE, spend_stops_until
from tests.unit.resilience.conftest import SCOPE

PERMANENT_KEYS = ("cfw:guards",)


def limited(retry_after: float | None):
    return failed(RateLimitedError("scripted", {"status": 429, "retry_after": retry_after}))


def test_retry_after_closes_the_gate_for_everybody_until_then(guard_with, server_time) -> None:
    guard, other = guard_with(), guard_with()
    guard.settle(guard.admit(Ask(SCOPE)).permit, limited(7))

    told = other.admit(Ask(SCOPE, tenant="b", lane="interactive", waiter="r1"))

    assert told.reason == "gate_closed"
    assert told.until - server_time.seconds == pytest.approx(7)
    assert told.retry_in_seconds >= 7
    server_time.advance(7.01)
    assert isinstance(other.admit(Ask(SCOPE)), Admitted)


def test_those_who_wait_at_the_gate_do_not_come_back_as_one(guard_with) -> None:
    guard = guard_with()
    guard.settle(guard.admit(Ask(SCOPE)).permit, limited(7))

    waits = sorted(guard.admit(Ask(SCOPE, waiter=f"r{number}")).retry_in_seconds for number in range(200))

    assert waits[0] >= 7
    busiest = max(sum(start <= wait < start + 0.1 for wait in waits) for start in waits)
    assert busiest < 25


def test_a_shorter_retry_after_does_not_open_the_gate_earlier(guard_with, server_time) -> None:
    guard = guard_with()
    permits = [guard.admit(Ask(SCOPE)).permit for _ in range(2)]

    guard.settle(permits[0], limited(10))
    guard.settle(permits[1], limited(2))

    assert guard.status(SCOPE).gate_until - server_time.seconds == pytest.approx(10)


def test_a_429_without_a_time_closes_it_for_a_moment(guard_with, server_time) -> None:
    guard = guard_with(gate=GatePolicy(unstated_seconds=2))

    settled = guard.settle(guard.admit(Ask(SCOPE)).permit, limited(None))

    assert settled.gate_until - server_time.seconds == pytest.approx(2)


def test_nobody_is_told_to_wait_longer_than_until_the_next_look(guard_with) -> None:
    guard = guard_with(gate=GatePolicy(recheck_seconds=60))
    guard.settle(guard.admit(Ask(SCOPE)).permit, limited(3000))

    assert guard.admit(Ask(SCOPE, waiter="r1")).retry_in_seconds < 62


def test_the_monthly_cap_stops_all_models_of_the_credential_until_the_first(guard_with, server_time) -> None:
    guard = guard_with()
    error = SpendLimitError("scripted", {"status": 429, "error_code": MONTHLY_CODE})
    settled = guard.settle(guard.admit(Ask(SCOPE)).permit, failed(error))

    told = guard.admit(Ask(type(SCOPE)(SCOPE.credential, "haiku")))

    until = datetime.fromtimestamp(settled.stopped_until, UTC)
    assert (until.day, until.hour, until.minute) == (1, 0, 0)
    assert isinstance(told, Refused)
    assert (told.reason, told.until) == ("spend_limit", settled.stopped_until)
    assert guard.status(SCOPE).stopped_code == MONTHLY_CODE
    assert isinstance(guard.admit(Ask(type(SCOPE)("other", "opus"))), Admitted)
    server_time.seconds = settled.stopped_until + 1
    assert isinstance(guard.admit(Ask(SCOPE)), Admitted)


def test_reset_opens_the_gate_and_lifts_the_stop(guard_with) -> None:
    guard = guard_with()
    permits = [guard.admit(Ask(SCOPE)).permit for _ in range(2)]
    guard.settle(permits[0], limited(100))
    guard.settle(permits[1], failed(SpendLimitError("scripted", {"status": 400})))

    guard.reset(SCOPE, everything=True)

    assert isinstance(guard.admit(Ask(SCOPE)), Admitted)


@pytest.mark.parametrize(
    ("now", "until"), [("2026-11-21T10:00", "2026-12-01T00:00"), ("2026-12-31T23:59", "2027-01-01T00:00")]
)
def test_the_monthly_cap_ends_at_midnight_utc_on_the_first(now, until) -> None:
    moment = datetime.fromisoformat(now + "+00:00").timestamp()

    assert (
        spend_stops_until(MONTHLY_CODE, moment, GatePolicy())
        == datetime.fromisoformat(until + "+00:00").timestamp()
    )


def test_a_spend_limit_without_a_known_end_is_tried_again_later(guard_with) -> None:
    assert spend_stops_until(None, 1000.0, GatePolicy(spend_recheck_seconds=60)) == 1060.0


def test_a_late_answer_still_closes_the_gate(guard_with) -> None:
    guard = guard_with()
    permit = guard.admit(Ask(SCOPE)).permit
    guard.settle(permit, answered(input_tokens=1, output_tokens=1))

    settled = guard.settle(permit, limited(5))

    assert not settled.known
    assert settled.gate_until is not None
