"""Calls about batches have a breaker, a gate and limits of their own."""

import pytest

from cf_workers._redis import Keys
from cf_workers.batches import NotTakenError, RejectedError, RemoteBatch, RowResult, UnclearError
from cf_workers.errors import CallRejectedError, ProviderDownError, RateLimitedError
from cf_workers.resilience import BreakerPolicy, Guard, GuardPolicy, Scope
from cf_workers.tasks.guarded_batches import SCOPE_CLASS, GuardedBatches

DOWN = UnclearError("down", error=ProviderDownError("down", {"status": 500}))
SLOW_DOWN = NotTakenError(
    "slow down", error=RateLimitedError("slow down", {"status": 429, "retry_after": 30}), retry_in=30
)
WRONG = RejectedError("wrong", error=CallRejectedError("wrong", {"status": 400}))


class ScriptedApi:
    """Does what the script says, then succeeds."""

    def __init__(self, *script):
        self.script = list(script)
        self.calls = 0

    def _next(self):
        self.calls += 1
        if self.script:
            raise self.script.pop(0)

    def create(self, requests):
        self._next()
        return RemoteBatch("b", len(requests), 0.0, ended=False)

    def retrieve(self, batch):
        self._next()
        return RemoteBatch(batch, 1, 0.0, ended=True)

    def newest(self):
        self._next()
        yield RemoteBatch("b", 1, 0.0, ended=True)

    def results(self, batch):
        self._next()
        yield RowResult("x", "expired")

    def cancel(self, batch):
        self._next()


@pytest.fixture
def guard(fake_redis):
    policy = GuardPolicy(breaker=BreakerPolicy(consecutive_failures=2))
    return Guard(fake_redis, Keys(), policy, draw=lambda: 0.5)


def guarded(guard, *script):
    api = ScriptedApi(*script)
    return api, GuardedBatches(api, guard, credential="c" * 12)


def test_every_call_goes_through(guard):
    api, batches = guarded(guard)

    assert batches.create([]).id == batches.retrieve("b").id == "b"
    assert [one.id for one in batches.newest()] == ["b"]
    assert [one.custom_id for one in batches.results("b")] == ["x"]
    batches.cancel("b")
    assert api.calls == 5
    assert [scope.model_class for scope in guard.scopes()] == [SCOPE_CLASS]


def test_an_outage_opens_a_breaker_and_then_nobody_is_asked(guard):
    api, batches = guarded(guard, DOWN, DOWN)
    for _ in range(2):
        with pytest.raises(UnclearError):
            batches.create([])

    with pytest.raises(NotTakenError) as refused:
        batches.create([])

    assert api.calls == 2
    assert refused.value.retry_in > 0
    assert guard.status(Scope("c" * 12, SCOPE_CLASS)).breaker.state == "open"


def test_when_the_provider_asks_to_wait_all_calls_about_batches_do(guard):
    api, batches = guarded(guard, SLOW_DOWN)
    with pytest.raises(NotTakenError):
        batches.retrieve("b")

    with pytest.raises(NotTakenError) as refused:
        list(batches.results("b"))

    assert api.calls == 1
    assert 25 < refused.value.retry_in < 60


def test_a_rejection_says_nothing_of_the_provider_s_health(guard):
    api, batches = guarded(guard, *[WRONG] * 5)
    for _ in range(5):
        with pytest.raises(RejectedError):
            batches.create([])

    assert batches.create([]).id == "b"
    assert api.calls == 6


def test_results_that_are_read_in_part_hold_nothing_afterwards(guard):
    _, batches = guarded(guard)

    next(batches.results("b"))
    batches.renew()

    assert guard.status(Scope("c" * 12, SCOPE_CLASS)).window.in_flight == 0
