"""What the guards do for a whole fleet, in simulated time, against a provider that enforces its limits."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from cf_workers.resilience import FairnessPolicy, LimitsPolicy
from tests.unit.resilience.fleet import Call, Fleet, provider

PERMANENT_KEYS = ("cfw:guards",)

SECONDS = 60


@pytest.fixture
def fleet_with(guard_with, server_time):
    def build(*, limits: dict[str, float], **policies) -> Fleet:
        return Fleet(guard_with(**policies), server_time, provider(server_time, **limits), random.Random(3))

    return build


def overload(fleet: Fleet, calls: int, tenants: str = "ab", lane: str = "batch") -> None:
    """Submit twice of what the limits allow, within two seconds, and watch for a minute."""
    start = fleet.time.seconds
    for number in range(calls):
        call = Call(f"r{number}", tenants[number % len(tenants)], lane)
        fleet.submit(call, start + fleet.draw.uniform(0, 2))
    fleet.run(start + SECONDS)


@pytest.mark.parametrize("burst_seconds", [5, 60])
def test_twice_the_load_makes_hardly_a_429_and_leaves_hardly_a_token_unused(
    fleet_with, burst_seconds
) -> None:
    limits = {"requests_per_minute": 120, "input_tokens_per_minute": 10**6, "burst_seconds": burst_seconds}
    fleet = fleet_with(limits=limits, limits_by_class={"opus": LimitsPolicy(120, 10**6)})

    overload(fleet, 240)

    assert fleet.answers[429] < 0.01 * len(fleet.sent)
    assert len(fleet.done) > 0.9 * 120


def test_input_tokens_can_be_what_limits_and_estimates_may_be_a_third_off(fleet_with) -> None:
    fleet = fleet_with(
        limits={"input_tokens_per_minute": 120_000, "burst_seconds": 10},
        limits_by_class={"opus": LimitsPolicy(None, 120_000)},
    )

    overload(fleet, 240)

    assert fleet.answers[429] < 0.01 * len(fleet.sent)
    assert len(fleet.done) > 0.9 * 120


def test_limits_that_are_only_learnt_from_headers_are_used_up_as_well(fleet_with) -> None:
    fleet = fleet_with(limits={"requests_per_minute": 120, "burst_seconds": 5})

    overload(fleet, 240)

    late = [moment for moment, _ in fleet.sent if moment > fleet.time.seconds - SECONDS + 10]
    assert len(fleet.done) > 0.9 * 120
    assert fleet.answers[429] < 40
    assert len(late) < 1.1 * 120 * 50 / 60


@pytest.mark.parametrize("lane", ["batch", "interactive"])
@pytest.mark.parametrize("weights", [{}, {"a": 3.0}])
def test_two_tenants_share_by_weight(fleet_with, weights, lane) -> None:
    fleet = fleet_with(
        limits={"requests_per_minute": 120, "burst_seconds": 60},
        fairness=FairnessPolicy(weights=weights),
        limits_by_class={"opus": LimitsPolicy(120)},
    )

    overload(fleet, 240, lane=lane)

    served = Counter(call.tenant for _, call in fleet.done)
    share = weights.get("a", 1.0) / (weights.get("a", 1.0) + 1)
    assert served["a"] / served.total() == pytest.approx(share, rel=0.1)


def test_an_interactive_call_overtakes_hundreds_of_batch_calls(fleet_with) -> None:
    fleet = fleet_with(
        limits={"requests_per_minute": 120, "burst_seconds": 60},
        limits_by_class={"opus": LimitsPolicy(120)},
    )
    start = fleet.time.seconds
    person = Call("person", "a", lane="interactive")
    fleet.submit(person, start + 20)

    overload(fleet, 500, tenants="a")

    answered_at = next(moment for moment, call in fleet.done if call is person)
    assert answered_at - person.asked_at < 1.5 * fleet.latency + 0.5


def test_an_outage_costs_only_probes_and_ends_within_one_cooldown(fleet_with) -> None:
    fleet = fleet_with(limits={"burst_seconds": 60})
    start = fleet.time.seconds
    fleet.outage = (start + 10, start + 70)
    fleet.again = lambda call: fleet.submit(call, fleet.time.seconds)
    for number in range(20):
        fleet.submit(Call(f"r{number}", "a"), start + fleet.draw.uniform(0, 1))
    fleet.run(start + 98)

    opened = next(change.at for change in fleet.changes if change.after == "open")
    during = [moment for moment, _ in fleet.sent if opened < moment < start + 70]
    last = [change for change in fleet.changes if change.after == "open"][-1]
    first_answer = next(moment for moment, _ in fleet.done if moment > start + 70)
    assert len(during) <= 3 * (len(fleet.changes) // 2 + 1)
    assert last.until is not None
    assert first_answer <= last.until + 2
    assert first_answer <= start + 70 + (last.until - last.at) + 2
    assert fleet.changes[-1].after == "closed"
    busiest = max(Counter(int(moment) for moment, _ in fleet.sent if moment > first_answer - 2).values())
    assert busiest <= 30
    assert len([1 for moment, _ in fleet.sent if moment > start + 92]) > 60
