"""What holds for any sequence of events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cf_workers._redis import Keys
from cf_workers.errors import OverloadedError
from cf_workers.resilience import (
    Admitted,
    Ask,
    BreakerPolicy,
    FairnessPolicy,
    Guard,
    GuardPolicy,
    LimitsPolicy,
    Permit,
    WindowPolicy,
    answered,
    failed,
)
from tests.support.time import ServerTime, scripted_server_time
from tests.unit.resilience.conftest import SCOPE

REPLY = answered(input_tokens=1, output_tokens=1)
FAULT = failed(OverloadedError("scripted", {"status": 529}))
NO_RESERVE = FairnessPolicy(interactive_reserve=0)

bounded = settings(max_examples=25, deadline=None)
events = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "answer", "fault", "forget", "wait"]),
        st.integers(0, 30),
        st.floats(0.01, 4),
    ),
    min_size=10,
    max_size=60,
)


@contextmanager
def fresh(**policies) -> Iterator[tuple[Guard, ServerTime, fakeredis.FakeRedis]]:
    with pytest.MonkeyPatch.context() as patch:
        time = scripted_server_time(patch)
        with fakeredis.FakeRedis(server=fakeredis.FakeServer()) as client:
            yield Guard(client, Keys(), GuardPolicy(**policies)), time, client


@bounded
@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 400)), min_size=20, max_size=80))
def test_a_bucket_never_admits_more_than_it_holds_and_what_flowed_in(asks) -> None:
    limits = LimitsPolicy(requests_per_minute=300, input_tokens_per_minute=60_000, burst_seconds=1)
    admitted: list[tuple[float, int]] = []
    with fresh(limits=limits, fairness=NO_RESERVE) as (guard, time, _):
        for pause, tokens in asks:
            time.advance(pause)
            if isinstance(guard.admit(Ask(SCOPE, input_tokens=tokens)), Admitted):
                admitted.append((time.seconds, tokens))

    assert admitted
    for first, (start, _) in enumerate(admitted):
        for last in range(first, len(admitted)):
            seconds = admitted[last][0] - start
            assert last - first + 1 <= 5 + 5 * seconds + 1e-3
            assert sum(tokens for _, tokens in admitted[first : last + 1]) <= 1000 + 1000 * seconds + 1e-2


@bounded
@given(events)
def test_half_open_never_has_more_probes_in_flight_than_allowed(steps) -> None:
    policy = BreakerPolicy(consecutive_failures=1, cooldown_seconds=1, cooldown_growth=1, probes=2)
    window = WindowPolicy(lease_seconds=5)
    with fresh(breaker=policy, window=window) as (guard, time, _):
        probes: dict[Permit, float] = {}
        held: list[Permit] = []
        for what, which, seconds in [("admit", 0, 0.0), ("fault", 0, 0.0), *steps]:
            if what == "wait":
                time.advance(seconds)
            elif what == "admit" and isinstance(told := guard.admit(Ask(SCOPE)), Admitted):
                held.append(told.permit)
                if told.permit.probe:
                    probes[told.permit] = time.seconds + window.lease_seconds
            elif held and what in ("answer", "fault", "forget"):
                permit = held.pop(which % len(held))
                if what != "forget":
                    changes = guard.settle(permit, REPLY if what == "answer" else FAULT).changes
                    probes.pop(permit, None)
                    if any(change.after in ("open", "closed") for change in changes):
                        probes.clear()
            assert sum(ends > time.seconds for ends in probes.values()) <= policy.probes


@bounded
@given(events)
def test_the_window_is_halved_at_most_once_a_round_trip(steps) -> None:
    breaker = BreakerPolicy(consecutive_failures=10**6, minimum_calls=10**6)
    window = WindowPolicy(cap=40, least=1, lease_seconds=10**6)
    with fresh(breaker=breaker, window=window, fairness=NO_RESERVE) as (guard, time, _):
        before_cut: set[Permit] = set()
        held: list[Permit] = []
        last = 40
        for what, which, seconds in [("admit", 0, 0.0)] * 12 + steps:
            time.advance(seconds)
            if what == "admit" and isinstance(told := guard.admit(Ask(SCOPE)), Admitted):
                held.append(told.permit)
            elif held and what in ("answer", "fault"):
                permit = held.pop(which % len(held))
                guard.settle(permit, REPLY if what == "answer" else FAULT)
                size = guard.status(SCOPE).window.size
                assert size is not None
                if permit in before_cut:
                    assert size == last
                assert size >= last // 2
                if size < last:
                    before_cut = set(held)
                last = size
            assert len(held) <= max(40, last)


@bounded
@given(events)
def test_permits_do_not_leak_and_what_was_reserved_is_settled_to_the_token(steps) -> None:
    breaker = BreakerPolicy(consecutive_failures=10**6, minimum_calls=10**6)
    limits = LimitsPolicy(input_tokens_per_minute=600_000, burst_seconds=60)
    with fresh(breaker=breaker, limits=limits) as (guard, _, client):
        held: list[Permit] = []
        used = 0
        for what, which, _ in [("admit", 9, 0.0), *steps]:
            if what == "admit" and isinstance(
                told := guard.admit(Ask(SCOPE, input_tokens=1000 + which, waiter=f"w{which}")), Admitted
            ):
                held.append(told.permit)
            elif held and what == "answer":
                guard.settle(held.pop(which % len(held)), answered(input_tokens=which, output_tokens=1))
                used += which
            assert guard.status(SCOPE).window.in_flight == len(held)
        for permit in held:
            guard.settle(permit, answered(input_tokens=7, output_tokens=1))
            used += 7
        status = guard.status(SCOPE)
        keys = Keys().guard(SCOPE.credential, SCOPE.model_class)

        assert status.window.in_flight == 0
        assert status.buckets["input_tokens"].level == pytest.approx(600_000 - used, abs=0.01)
        assert status.waiters.total == 0
        assert client.exists(keys.permits, keys.flights, keys.probes) == 0
