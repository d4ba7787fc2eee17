"""Waits grow, are capped, spread, and are never shorter than the provider asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.resilience.backoff import BackoffPolicy, wait_before

attempts = st.integers(1, 10_000)
seconds = st.floats(0, 1e6)
policies = st.builds(BackoffPolicy, seconds, seconds, st.booleans())


@given(attempts, policies)
def test_a_wait_is_never_negative_and_never_above_its_bound(attempt, policy):
    bound = min(policy.cap_seconds, policy.base_seconds * 2.0 ** min(attempt - 1, 62))

    assert 0 <= wait_before(attempt, policy) <= bound


@given(attempts, policies, seconds)
def test_what_the_provider_asks_for_is_a_lower_bound(attempt, policy, asked):
    wait = wait_before(attempt, policy, asked)

    assert asked <= wait <= asked + policy.cap_seconds + 1e-6


@given(attempts, seconds, seconds)
def test_without_jitter_waits_only_grow(attempt, base, cap):
    policy = BackoffPolicy(base, cap, jitter=False)

    assert wait_before(attempt, policy) <= wait_before(attempt + 1, policy)


def test_without_jitter_each_wait_doubles_up_to_the_cap():
    policy = BackoffPolicy(1.0, 5.0, jitter=False)

    assert [wait_before(n, policy) for n in range(1, 6)] == [1, 2, 4, 5, 5]


def test_full_jitter_spreads_a_fleet_over_the_whole_bound():
    waits = [wait_before(3, BackoffPolicy(1.0, 60.0)) for _ in range(2000)]

    assert max(waits) <= 4
    assert [sum(n <= wait < n + 1 for wait in waits) for n in range(4)] == pytest.approx([500] * 4, abs=150)


def test_a_fleet_that_was_told_the_same_moment_does_not_come_back_as_one():
    waits = {wait_before(1, BackoffPolicy(), retry_after=30) for _ in range(50)}

    assert len(waits) == 50
