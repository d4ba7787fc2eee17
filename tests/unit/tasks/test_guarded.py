"""What is admitted is made and settled; what is not is put off, or refused to those who will not wait."""

import contextlib
import random
from dataclasses import replace

import pytest
import redis

from cf_workers._redis import Keys
from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentDefinition, AgentReply, Usage
from cf_workers.errors import CallRejectedError, OverloadedError, ProviderDownError
from cf_workers.resilience import BreakerPolicy, Guard, GuardPolicy, Scope, Unasked
from cf_workers.tasks.answering import Answer, Caller, NotNow
from cf_workers.tasks.guarded import Guarded, estimate_tokens, model_class
from cf_workers.tasks.known_prompts import KnownPrompts, prompt_of
from tests.support.time import scripted_server_time

MODEL = "claude-haiku-4-5"
CALL = AgentCall(
    agent=AgentDefinition(name="writer", text="x" * 4000),
    task="y" * 400,
    model=MODEL,
    max_tokens=10,
    timeout_seconds=5,
)
PATIENT = Caller(waiter="r\ta", holder="r\ta\t1")
HURRIED = Caller(waiter="r\ta", holder="r\ta\t1", fail_fast=True)
SCOPE = Scope("c", model_class(MODEL))


class Provider:
    """Answers, or fails as it was told."""

    def __init__(self):
        self.failure = None
        self.calls = 0
        self.usage = Usage(input_tokens=10, output_tokens=5)

    def ask(self, call, caller, token):
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return Answer(AgentReply("fine", call.model, self.usage, "end_turn", request_id="r"), 0.1)


@pytest.fixture
def server_time(monkeypatch):
    return scripted_server_time(monkeypatch)


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def guard(fake_redis, server_time):
    policy = GuardPolicy(breaker=BreakerPolicy(consecutive_failures=2, cooldown_jitter=0))
    return Guard(fake_redis, Keys(), policy, draw=random.Random(7).random)


@pytest.fixture
def prompts():
    return KnownPrompts()


@pytest.fixture
def guarded(guard, provider, prompts):
    return Guarded(provider, guard, prompts, credential="c")


def ask(guarded, caller=PATIENT):
    return guarded.ask(CALL, caller, CancelToken())


def open_breaker(guarded, provider):
    provider.failure = OverloadedError("overloaded")
    for _ in range(2):
        with pytest.raises(OverloadedError):
            ask(guarded)


def test_while_the_breaker_is_open_no_call_is_made_and_the_step_is_put_off(guarded, provider):
    open_breaker(guarded, provider)

    with pytest.raises(NotNow, match="breaker is open") as refused:
        ask(guarded)

    assert provider.calls == 2
    assert refused.value.retry_in >= 5
    assert (refused.value.probe, refused.value.instead) == (None, None)


def test_a_caller_in_a_hurry_is_given_the_error_to_fail_with(guarded, provider):
    open_breaker(guarded, provider)

    with pytest.raises(NotNow) as refused:
        ask(guarded, HURRIED)

    assert isinstance(refused.value.instead, ProviderDownError)


def test_a_probe_that_fails_is_put_off_behind_the_next_cooldown(guarded, provider, server_time):
    open_breaker(guarded, provider)
    server_time.advance(5)

    with pytest.raises(NotNow, match="overloaded") as failed:
        ask(guarded)

    assert provider.calls == 3
    assert failed.value.probe is provider.failure
    assert failed.value.retry_in == pytest.approx(10.5)


def test_a_probe_that_the_provider_rejects_is_the_steps_own_failure(guarded, provider, server_time):
    open_breaker(guarded, provider)
    server_time.advance(5)
    provider.failure = CallRejectedError("no", {"status": 400})

    with pytest.raises(CallRejectedError):
        ask(guarded)


@pytest.mark.parametrize("failure", [None, OverloadedError("no"), SystemExit()])
def test_however_a_call_ends_its_place_in_flight_is_free_again(guarded, guard, provider, failure):
    provider.failure = failure
    with contextlib.suppress(OverloadedError, SystemExit):
        ask(guarded)

    assert guard.status(SCOPE).window.in_flight == 0
    assert not guarded._held


def test_changes_of_a_breaker_are_kept(guarded, guard, provider):
    open_breaker(guarded, provider)
    guard.reset(SCOPE)

    closed, opened = guard.changes()

    assert (opened.before, opened.after, opened.reason) == ("closed", "open", "consecutive_failures")
    assert (closed.after, closed.reason, closed.scope) == ("closed", "reset", SCOPE)


def test_a_definition_in_the_providers_prompt_cache_is_not_reserved_for():
    assert estimate_tokens(CALL) == 1100
    assert estimate_tokens(CALL, cached=True) == 100


def test_a_definition_is_taken_for_cached_as_long_as_replies_say_so(guarded, provider, prompts):
    ask(guarded)
    assert not prompts.is_warm(prompt_of(CALL))

    provider.usage = Usage(input_tokens=10, output_tokens=5, cache_creation_input_tokens=1000)
    ask(guarded)

    assert prompts.is_warm(prompt_of(CALL))
    assert not prompts.is_warm(prompt_of(replace(CALL, model="claude-opus-4-5")))

    provider.usage = Usage(input_tokens=1010, output_tokens=5)
    ask(guarded)

    assert not prompts.is_warm(prompt_of(CALL))


def test_calls_that_went_by_a_blind_guard_are_reported_with_the_heartbeat(
    guarded, guard, fake_redis, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(fake_redis, "execute_command", _fail)
        ask(guarded)

    guarded.renew()

    assert guard.unasked() == Unasked(calls=1, failures=1)


def _fail(*_):
    raise redis.ResponseError("Error running script")
