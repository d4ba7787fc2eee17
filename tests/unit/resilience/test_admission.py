from __future__ import annotations

import fakeredis
import pytest
import redis

from cf_workers._redis import Keys, connect
from cf_workers.errors import ProviderDownError, RateLimitedError, SpendLimitError
from cf_workers.resilience import (
    Admitted,
    Ask,
    Guard,
    GuardPolicy,
    Refused,
    Scope,
    answered,
    credential_digest,
    explain,
    refusal_error,
)
from tests.unit.resilience.conftest import SCOPE

PERMANENT_KEYS = ("cfw:guards",)


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
