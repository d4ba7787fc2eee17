"""Does a rate limit let a request through, and what do the headers say?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.simulator.config import SimulatorConfig
from cf_workers.simulator.limits import RateLimiter, TokenBucket
from cf_workers.simulator.problem import ApiProblem
from tests.unit.simulator.clock import ScriptedClock


def limiter(clock: ScriptedClock, **limits: float) -> RateLimiter:
    return RateLimiter(clock, SimulatorConfig(**limits))


def test_without_limits_nothing_is_refused_and_nothing_advertised():
    limits = limiter(ScriptedClock())

    for _ in range(1000):
        limits.admit("key", "opus", 1_000_000)

    assert limits.headers("key", "opus") == {}


def test_a_request_above_the_limit_is_told_when_it_would_pass():
    clock = ScriptedClock()
    limits = limiter(clock, requests_per_minute=2)
    limits.admit("key", "opus", 10)
    limits.admit("key", "opus", 10)

    with pytest.raises(ApiProblem) as caught:
        limits.admit("key", "opus", 10)

    assert (caught.value.status, caught.value.type) == (429, "rate_limit_error")
    assert caught.value.headers["retry-after"] == "30"
    clock.sleep(30)
    limits.admit("key", "opus", 10)


def test_a_burst_may_use_only_its_share_of_the_minute():
    limits = limiter(ScriptedClock(), requests_per_minute=60, burst_seconds=1)
    limits.admit("key", "opus", 10)

    with pytest.raises(ApiProblem):
        limits.admit("key", "opus", 10)


def test_input_is_charged_and_a_prompt_larger_than_the_bucket_passes_when_it_is_full():
    limits = limiter(ScriptedClock(), input_tokens_per_minute=1000)
    limits.admit("key", "opus", 5000)

    with pytest.raises(ApiProblem) as caught:
        limits.admit("key", "opus", 1)

    assert int(caught.value.headers["retry-after"]) == 241


def test_output_is_charged_when_it_has_been_produced():
    limits = limiter(ScriptedClock(), output_tokens_per_minute=100)
    limits.admit("key", "opus", 10)
    limits.settle("key", "opus", 150)

    with pytest.raises(ApiProblem):
        limits.admit("key", "opus", 10)


def test_keys_and_model_classes_have_buckets_of_their_own():
    limits = limiter(ScriptedClock(), requests_per_minute=1)

    limits.admit("key", "opus", 10)
    limits.admit("key", "haiku", 10)
    limits.admit("other", "opus", 10)
    with pytest.raises(ApiProblem):
        limits.admit("key", "opus", 10)


def test_only_enforced_limits_are_advertised():
    limits = limiter(ScriptedClock(), requests_per_minute=10)
    limits.admit("key", "opus", 10)

    headers = limits.headers("key", "opus")

    assert headers["anthropic-ratelimit-requests-limit"] == "10"
    assert headers["anthropic-ratelimit-requests-remaining"] == "9"
    assert headers["anthropic-ratelimit-requests-reset"] == "2027-01-15T08:00:06Z"
    assert {name.split("-")[2] for name in headers} == {"requests"}


def test_the_tokens_headers_show_the_most_restrictive_limit():
    limits = limiter(ScriptedClock(), input_tokens_per_minute=100_000, output_tokens_per_minute=40_000)
    limits.admit("key", "opus", 90_000)

    headers = limits.headers("key", "opus")

    assert headers["anthropic-ratelimit-tokens-limit"] == "100000"
    assert headers["anthropic-ratelimit-tokens-remaining"] == "10000"


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0.1, 20)), max_size=60))
def test_a_bucket_never_gives_more_than_it_held_and_what_flowed_in(takes):
    bucket = TokenBucket(per_minute=60, capacity=10, level=10, at=0)
    now = given_out = 0.0

    for pause, amount in takes:
        now += pause
        bucket.refill(now)
        if bucket.wait_for(amount) == 0 and amount <= 10:
            bucket.level -= amount
            given_out += amount

    assert given_out <= 10 + now + 1e-6
