"""A long prompt that many share is written to the provider's cache once, where that is worth a wait."""

import pytest
import redis

from cf_workers._redis import Keys
from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentDefinition, AgentReply, Usage
from cf_workers.answers import Answer
from cf_workers.errors import OverloadedError
from cf_workers.prefixes import Prefixes, WarmingPolicy
from cf_workers.tasks.answering import Caller, NotNow
from cf_workers.tasks.known_prompts import KnownPrompts
from cf_workers.tasks.lobby import Lobby
from cf_workers.tasks.warmed import Warmed

MODEL = "claude-sonnet-5"
WRITTEN = Usage(input_tokens=10, output_tokens=5, cache_creation_input_tokens=10_000)
READ = Usage(input_tokens=10, output_tokens=5, cache_read_input_tokens=10_000)
NEITHER = Usage(input_tokens=10_010, output_tokens=5)


class Provider:
    """Does what it is told while a call is under way."""

    def __init__(self):
        self.usage = WRITTEN
        self.failure = None
        self.meanwhile = lambda: None
        self.callers = []

    def ask(self, call, caller, token):
        self.callers.append(caller.waiter)
        if self.failure is not None:
            raise self.failure
        if caller.began is not None:
            caller.began()
        self.meanwhile()
        return Answer(AgentReply("fine", call.model, self.usage, "end_turn", request_id="r"), 0.1)


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def woken():
    return []


@pytest.fixture
def make(fake_redis, provider, woken):
    """Makes processes whose slots are all wanted."""

    def make(**policy):
        prefixes = Prefixes(fake_redis, Keys(), WarmingPolicy(**policy))
        lobby = Lobby(prefixes, lambda: -1)
        return Warmed(provider, prefixes, lobby, KnownPrompts(), credential="c", wake=woken.extend)

    return make


def ask(warmed, name="a", *, characters=40_000, model=MODEL, **caller):
    agent = AgentDefinition(name="writer", text="x" * characters)
    call = AgentCall(agent=agent, task=f"do {name}", model=model, max_tokens=10, timeout_seconds=5)
    return warmed.ask(call, Caller(waiter=f"r\t{name}", holder=f"r\t{name}\t1", **caller), CancelToken())


def put_off(warmed, name, **rest):
    with pytest.raises(NotNow, match="writing the agent's prompt") as caught:
        ask(warmed, name, **rest)
    return caught.value


def test_others_wait_until_the_first_reply_begins_and_then_all_go_on(make, provider, woken):
    warmed, others = make(), make()

    def refused_before_it_begins(call, caller, token):
        refusal = put_off(others, "b")
        assert refusal.well
        assert refusal.waits()
        return Provider.ask(provider, call, caller, token)

    provider_ask, provider.ask = provider.ask, refused_before_it_begins
    ask(warmed, "a")
    provider.ask, provider.usage = provider_ask, READ
    ask(others, "b")

    assert woken == ["r\tb"]
    assert provider.callers == ["r\ta", "r\tb"]


def test_a_call_that_fails_before_its_reply_begins_lets_another_go_first(make, provider, woken):
    warmed, others = make(), make()

    def fails(call, caller, token):
        put_off(others, "b")
        put_off(others, "c")
        raise OverloadedError("529")

    provider.ask = fails
    with pytest.raises(OverloadedError):
        ask(warmed, "a")

    assert woken == ["r\tb"]


@pytest.mark.parametrize(
    ("policy", "call"),
    [
        ({"enabled": False}, {}),
        ({}, {"characters": 4_000}),
        ({}, {"model": "claude-of-tomorrow-9"}),
        ({"least_saving_nanos": 10**9}, {}),
        ({}, {"fail_fast": True}),
    ],
    ids=["switched off", "too short to be kept", "price unknown", "not worth it", "in a hurry"],
)
def test_nobody_waits_where_it_does_not_pay(make, provider, fake_redis, policy, call):
    warmed = make(**policy)
    provider.meanwhile = lambda: None

    ask(warmed, "a", **call)

    assert provider.callers == ["r\ta"]
    assert fake_redis.keys("cfw:prefix:*") == []


def test_a_prefix_that_the_provider_does_not_keep_holds_nobody_up(make, provider):
    provider.usage = NEITHER
    ask(make(), "a")
    provider.ask = lambda call, caller, token: (
        put_off(make(), "late") if caller.began else Provider().ask(call, caller, token)
    )

    assert ask(make(), "b").reply.output == "fine"


def test_a_known_prefix_is_not_asked_about_for_each_call(make, fake_redis):
    warmed = make()
    ask(warmed, "a")
    fake_redis.flushall()

    ask(warmed, "b")

    assert fake_redis.keys("*") == []


def test_what_is_read_stays_warm_for_the_fleet(make, provider, fake_redis):
    ask(make(ttl_seconds=100), "a")
    (key,) = fake_redis.keys("cfw:prefix:*")
    fake_redis.pexpire(key, 1_000)
    provider.usage = READ

    ask(make(ttl_seconds=100), "b")

    assert fake_redis.pttl(key) > 90_000


def test_without_a_server_every_call_is_made(provider):
    class Away(Prefixes):
        def approach(self, *_, **__):
            raise redis.ConnectionError("away")

    away = Away(None, Keys())
    warmed = Warmed(provider, away, Lobby(away, lambda: -1), KnownPrompts(), credential="c", wake=list)

    assert ask(warmed).reply.output == "fine"
