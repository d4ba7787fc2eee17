from __future__ import annotations

import fakeredis
import pytest
import redis

from cf_workers._redis import Keys, connect
from cf_workers.errors import ProviderDownError, RateLimitedError, SpendLimitError
from cf_workers.resilience import (
    Admitted,
    Ask,
    BreakerPolicy,
    Guard,
    GuardPolicy,
    LimitsPolicy,
    Refused,
    Scope,
    Unasked,
    WindowPolicy,
    answered,
    credential_digest,
    explain,
    failed,
    refusal_error,
)
from tests.unit.resilience.conftest import SCOPE

PERMANENT_KEYS = ("cfw:guards", "cfw:guards:changes", "cfw:counters")


class CountingFailures:
    """A client whose server is gone."""

    def __init__(self) -> None:
        self.asked = 0

    def __getattr__(self, name: str):
        def fail(*args, **options):
            self.asked += 1
            raise redis.ConnectionError("gone")

        return fail


def test_when_redis_is_gone_calls_are_admitted_and_counted() -> None:
    guard = Guard(CountingFailures(), Keys(), GuardPolicy())

    told = [guard.admit(Ask(SCOPE)) for _ in range(5)]

    assert all(isinstance(one, Admitted) and one.permit.blind for one in told)
    assert guard.blind_admissions == 5
    assert guard.settle(told[0].permit, answered(input_tokens=1, output_tokens=1)).known is False
    assert guard.renew([told[0].permit]) == frozenset()


def test_a_redis_that_just_failed_is_not_asked_again_at_once() -> None:
    client = CountingFailures()
    guard = Guard(client, Keys(), GuardPolicy(blind_seconds=60))
    guard.admit(Ask(SCOPE))
    asked = client.asked

    for _ in range(10):
        guard.admit(Ask(SCOPE))

    assert client.asked == asked
    assert guard.failures == 1


def test_a_guard_that_was_blind_asks_again_after_a_while() -> None:
    client = CountingFailures()
    guard = Guard(client, Keys(), GuardPolicy(blind_seconds=0))

    guard.admit(Ask(SCOPE))
    guard.admit(Ask(SCOPE))

    assert guard.failures == 2


def test_an_address_where_nobody_listens_does_not_hold_a_call_up() -> None:
    guard = Guard(connect("redis://127.0.0.1:1/0", timeout_seconds=0.2), Keys(), GuardPolicy())

    told = guard.admit(Ask(SCOPE))

    assert isinstance(told, Admitted)
    assert told.permit.blind


def test_status_says_that_redis_is_gone() -> None:
    with pytest.raises(redis.RedisError):
        Guard(CountingFailures(), Keys()).status(SCOPE)


def test_every_key_of_a_credential_is_in_one_slot() -> None:
    keys = Keys().guard("abc", "opus")

    assert {name.split(":")[2] for name in vars(keys).values()} == {"{abc}"}


def test_a_credential_is_named_by_a_digest_that_does_not_show_it() -> None:
    digest = credential_digest("sk-ant-secret")

    assert digest == credential_digest("sk-ant-secret") != credential_digest("sk-ant-other")
    assert "secret" not in digest
    assert len(digest) == 16


def test_a_scope_is_spelt_as_one_word_and_read_back() -> None:
    assert Scope.parse(str(SCOPE)) == SCOPE
    with pytest.raises(ValueError, match="cannot name a scope"):
        Scope("c", "opus 5")


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        ("breaker_open", ProviderDownError),
        ("spend_limit", SpendLimitError),
        ("requests", RateLimitedError),
        ("gate_closed", RateLimitedError),
    ],
)
def test_a_refusal_can_be_raised_by_those_who_would_rather_fail(reason, error) -> None:
    raised = refusal_error(Refused(SCOPE, reason, 3.0, 99.0))

    assert isinstance(raised, error)
    assert explain(reason) in str(raised)
    assert raised.details["retry_after"] == 3.0


def test_a_scope_that_nobody_uses_is_forgotten(server_time, fake_redis: fakeredis.FakeRedis) -> None:
    guard = Guard(fake_redis, Keys(), GuardPolicy(keep_seconds=600))
    guard.admit(Ask(SCOPE))
    server_time.advance(700)
    other = Scope("c", "haiku")

    guard.admit(Ask(other))

    assert guard.scopes() == [other]
    assert fake_redis.keys("*:opus:*") == []


class BrokenScripts:
    """A server that answers, and fails every script while `broken`."""

    def __init__(self, client) -> None:
        self._client = client
        self.broken = True

    def __getattr__(self, name: str):
        return getattr(self._client, name)

    def execute_command(self, *args):
        if self.broken:
            raise redis.ResponseError("Error running script")
        return self._client.execute_command(*args)


def test_calls_that_go_by_a_guard_with_broken_scripts_are_counted_for_the_whole_fleet(fake_redis) -> None:
    client = BrokenScripts(fake_redis)
    guard = Guard(client, Keys(), GuardPolicy(blind_seconds=0))

    for _ in range(3):
        assert guard.admit(Ask(SCOPE)).permit.blind
    guard.report()
    guard.report()

    assert guard.blind
    assert guard.unasked() == Unasked(calls=3, failures=3)


def test_a_guard_that_redis_answers_again_is_not_blind_any_more(fake_redis) -> None:
    client = BrokenScripts(fake_redis)
    guard = Guard(client, Keys(), GuardPolicy(blind_seconds=0))
    guard.admit(Ask(SCOPE))
    client.broken = False

    assert not guard.admit(Ask(SCOPE)).permit.blind
    assert not guard.blind


def test_refusals_are_counted_by_reason_and_changes_of_the_breaker_too(guard_with) -> None:
    guard = guard_with(
        limits=LimitsPolicy(60, burst_seconds=1), breaker=BreakerPolicy(consecutive_failures=1)
    )
    permit = guard.admit(Ask(SCOPE, lane="interactive")).permit
    for number in range(3):
        guard.admit(Ask(SCOPE, waiter=f"r{number}"))
    guard.settle(permit, failed(ProviderDownError("scripted", {"status": 503})))
    guard.admit(Ask(SCOPE))

    status = guard.status(SCOPE)

    assert status.refused == {"requests": 3, "breaker_open": 1}
    assert status.breaker.changes == 1


def test_of_very_many_who_wait_the_status_says_how_many_and_about_why(guard_with) -> None:
    guard = guard_with(window=WindowPolicy(cap=1))
    guard.admit(Ask(SCOPE))
    keys = Keys().guard(SCOPE.credential, SCOPE.model_class)
    guard.admit(Ask(SCOPE, waiter="first"))
    client = guard._client
    client.hset(keys.waiting, mapping={f"batch\ta\tw{n}": "5 in_flight" for n in range(2999)})
    client.hset(keys.line, "n:batch:a", 2999)

    waiters = guard.status(SCOPE).waiters

    assert waiters.total == 3000
    assert waiters.reasons == {"in_flight": 3000}
    assert waiters.tenants == {"default": 1, "a": 2999}
