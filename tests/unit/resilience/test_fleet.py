"""What the guards do for a whole fleet, in simulated time, against a provider that enforces its limits."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter

import pytest

from cf_workers.resilience import FairnessPolicy, LimitsPolicy, WindowPolicy
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


def test_what_was_had_before_limits_are_learnt_is_not_paid_for_afterwards(fleet_with) -> None:
    """Without limits nobody waits for anybody; the first answers tell the limits."""
    fleet = fleet_with(
        limits={"requests_per_minute": 300, "burst_seconds": 60},
        fairness=FairnessPolicy(weights={"red": 1.0, "blue": 2.0}),
    )
    start = fleet.time.seconds
    for number in range(500):
        fleet.submit(Call(f"r{number}", ("red", "blue")[number % 2]), start + number * 0.02)
    fleet.run(start + 40)

    later = [tenant for moment, tenant in fleet.sent if start + 12 < moment < start + 30]
    assert len(later) > 60
    assert later.count("red") / len(later) == pytest.approx(1 / 3, rel=0.15)


def most_within(fleet: Fleet, seconds: float) -> int:
    """The most calls sent within any span of that length."""
    moments = [moment for moment, _ in fleet.sent]
    return max(bisect_right(moments, moment + seconds) - at for at, moment in enumerate(moments))


def test_a_tenant_that_has_done_its_work_leaves_its_share_to_the_others_at_once(fleet_with) -> None:
    fleet = fleet_with(
        limits={"requests_per_minute": 900, "burst_seconds": 3},
        limits_by_class={"opus": LimitsPolicy(900, burst_seconds=2)},
        fairness=FairnessPolicy(weights={"red": 1.0, "blue": 2.0}),
    )
    fleet.latency = 0.2
    start = fleet.time.seconds
    for number in range(160):
        fleet.submit(Call(f"r{number}", ("red", "blue")[number % 2]), start + number * 0.008)
    fleet.run(start + SECONDS)

    last = fleet.sent[-1][0]
    blue = [moment for moment, tenant in fleet.sent if tenant == "blue"]
    while_both = [tenant for moment, tenant in fleet.sent if moment <= blue[-1]]
    assert len(fleet.done) == 160
    assert 160 / (15 * (last - start) + 30) > 0.95
    assert most_within(fleet, 1.0) <= 30 + 15
    assert fleet.answers[429] == 0
    assert while_both.count("red") / len(while_both) == pytest.approx(1 / 3, rel=0.1)


@pytest.mark.parametrize("latency", [0.3, 10.0])
def test_the_slots_of_a_cap_are_used_to_the_end_of_a_backlog(fleet_with, latency) -> None:
    fleet = fleet_with(limits={"burst_seconds": 60}, window=WindowPolicy(cap=10))
    fleet.latency = latency
    start = fleet.time.seconds
    for number in range(100):
        fleet.submit(Call(f"r{number}", "a"), start + number * 0.002)
    fleet.run(start + 100 * latency)

    ended = max(moment for moment, _ in fleet.done)
    assert len(fleet.done) == 100
    assert fleet.most_in_flight <= 10
    assert fleet.refusals.total() < 200
    assert 100 * latency / (9 * (ended - start)) > 0.8  # a tenth of the slots is kept for interactive work


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
