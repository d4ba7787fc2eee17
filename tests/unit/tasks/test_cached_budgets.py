"""Cache and budgets together: a hit needs no money, and a cheaper model answers no dearer call."""

import pytest

from cf_workers._redis import Keys
from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentDefinition, AgentReply, Usage
from cf_workers.agents.estimate import most_nanos
from cf_workers.answers import Answer
from cf_workers.budgets import BudgetPolicy, Ledger, Limit
from cf_workers.cache import Cache, CachePolicy, GivenSecret
from cf_workers.tasks.answering import Caller, NotNow
from cf_workers.tasks.budgeted import Budgeted
from cf_workers.tasks.cached import Cached
from tests.support.engine import fake_client

MODEL, CHEAPER = "claude-opus-5-5", "claude-haiku-5-5"
CALL = AgentCall(
    agent=AgentDefinition(name="writer", text="# writer"),
    task="Write.",
    model=MODEL,
    max_tokens=1000,
    timeout_seconds=5,
)
MOST = most_nanos(CALL)


class Provider:
    def __init__(self):
        self.asked = []

    def ask(self, call, caller, token):
        self.asked.append(call.model)
        return Answer(AgentReply("fine", call.model, Usage(input_tokens=5, output_tokens=5), "end_turn"), 0.1)


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def ask(provider, fake_redis):
    ledger = Ledger(fake_client(), Keys(), BudgetPolicy(known_seconds=0))
    cache = Cache(fake_redis, Keys(), GivenSecret(b"of the test"), policy=CachePolicy())
    cached = Cached(Budgeted(provider, ledger, wake=list), cache, namespace="n", wake=list)

    def made(nanos, *models, number=1):
        limit = Limit("namespace", nanos, "total", "cheaper_model" if models else "park", models)
        return cached.ask(
            CALL, Caller(waiter="r\ta", holder=f"r\ta\t{number}", run="r", limits=(limit,)), CancelToken()
        )

    return made


def test_a_hit_needs_no_money(ask, provider):
    ask(MOST)

    answer = ask(0, number=2)

    assert answer.cached
    assert provider.asked == [MODEL]


def test_without_money_and_without_a_hit_no_call_is_made_and_the_next_one_may_lead(ask, provider):
    with pytest.raises(NotNow, match="cf-workers budget set namespace"):
        ask(MOST - 1)

    assert not ask(MOST, number=2).cached
    assert provider.asked == [MODEL]


def test_what_a_cheaper_model_answered_is_not_given_for_the_dearer_one(ask, provider):
    ask(MOST - 1, CHEAPER)

    assert not ask(10 * MOST, number=2).cached
    assert provider.asked == [CHEAPER, MODEL]
