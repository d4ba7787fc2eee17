"""A call is made when there is money for the most that it may cost, and pays what it did cost."""

import pytest
import redis

from cf_workers._redis import Keys
from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentDefinition, AgentReply, Usage
from cf_workers.agents.estimate import most_nanos
from cf_workers.agents.prices import cost_nanos
from cf_workers.answers import Answer, succeeded
from cf_workers.budgets import BudgetPolicy, Ledger, Limit
from cf_workers.errors import (
    BudgetError,
    CallRejectedError,
    CallTimeoutError,
    ConnectionFailedError,
    OverloadedError,
    RefusedError,
)
from cf_workers.tasks.answering import Caller, NotNow
from cf_workers.tasks.budgeted import Budgeted, Capped, renew_all
from tests.support.engine import fake_client, step
from tests.support.keys import assert_nothing_leaked
from tests.support.time import scripted_server_time

MODEL, CHEAPER, CHEAPEST = "claude-opus-5-5", "claude-haiku-4-5", "claude-haiku-5-5"
USAGE = Usage(input_tokens=100, output_tokens=50)
CALL = AgentCall(
    agent=AgentDefinition(name="writer", text="# writer"),
    task="Write.",
    model=MODEL,
    max_tokens=1000,
    timeout_seconds=5,
)
MOST = most_nanos(CALL)
COST = cost_nanos(MODEL, USAGE)


class Provider:
    """Answers, or does what it was told."""

    def __init__(self):
        self.asked = []
        self.will = None

    def ask(self, call, caller=None, token=None):
        self.asked.append(call)
        if callable(self.will):
            self.will()
        if isinstance(self.will, BaseException):
            raise self.will
        return Answer(AgentReply("fine", call.model, USAGE, "end_turn"), 0.1)


@pytest.fixture
def client(request):
    with fake_client() as made:
        yield made
        assert_nothing_leaked(made, request.module)


@pytest.fixture
def provider():
    return Provider()


@pytest.fixture
def ledger(client):
    return Ledger(client, Keys(), BudgetPolicy(known_seconds=0))


@pytest.fixture
def woken():
    return []


@pytest.fixture
def budgeted(provider, ledger, woken):
    return Budgeted(provider, ledger, wake=woken.extend)


def caller(nanos=10 * MOST, *, reaction="park", models=(), step="a", **rest):
    limit = Limit("namespace", nanos, "total", reaction, tuple(models))
    return Caller(waiter=f"r\t{step}", holder=f"r\t{step}\t1", run="r", workflow="w", limits=(limit,), **rest)


def ask(budgeted, who):
    return budgeted.ask(CALL, who, CancelToken())


def held(ledger):
    (found,) = ledger.statuses()
    return found.spent, found.reserved, found.uncertain


def test_an_answered_call_pays_what_it_cost(budgeted, ledger):
    ask(budgeted, caller())

    assert held(ledger) == (COST, 0, 0)


def test_while_a_call_is_under_way_the_most_that_it_may_cost_is_reserved(budgeted, ledger, provider):
    seen = []
    provider.will = lambda: seen.append(held(ledger))

    ask(budgeted, caller())

    assert seen == [(0, MOST, 0)]


def test_where_no_budget_applies_nothing_is_asked_of_the_server_but_what_was_set_by_hand(
    provider, client, monkeypatch
):
    asked = []
    monkeypatch.setattr(client, "execute_command", lambda *words, **_: asked.append(words[0]) or {})
    budgeted = Budgeted(provider, Ledger(client, Keys()), wake=list)

    for _ in range(5):
        ask(budgeted, Caller(waiter="r\ta", holder="r\ta\t1"))

    assert asked == ["HGETALL"]


@pytest.mark.parametrize("scope", ["namespace", "day", "agent:writer", "workflow:w", "run:r"])
def test_a_budget_set_by_hand_holds_for_work_that_was_started_without_any(budgeted, ledger, scope):
    ledger.set(scope, MOST - 1)
    who = Caller(waiter="r\ta", holder="r\ta\t1", run="r", workflow="w")

    with pytest.raises(NotNow, match=f"the budget {scope}"):
        ask(budgeted, who)


def test_a_budget_of_a_workflow_is_not_that_of_a_single_execution_of_the_same_name(budgeted, ledger):
    ledger.set("workflow:writer", 0)

    ask(budgeted, Caller(waiter="r\ta", holder="r\ta\t1", run="r", workflow="writer", alone=True))


def test_without_money_no_call_is_made_and_the_step_is_put_off_with_what_to_do(budgeted, provider):
    with pytest.raises(NotNow) as caught:
        ask(budgeted, caller(MOST - 1))

    assert provider.asked == []
    assert "the budget namespace of" in caught.value.reason
    assert caught.value.instead is None
    assert caught.value.waits()


def test_who_is_put_off_hears_of_a_raise_that_came_before_it_was_parked(budgeted, ledger):
    with pytest.raises(NotNow) as caught:
        ask(budgeted, caller(MOST - 1))
    ledger.set("namespace", MOST)

    assert not caught.value.waits()
    ask(budgeted, caller(MOST - 1))


def test_who_would_rather_fail_than_wait_is_given_the_error(budgeted):
    with pytest.raises(NotNow) as caught:
        ask(budgeted, caller(MOST - 1, fail_fast=True))

    assert isinstance(caught.value.instead, BudgetError)
    assert "budget set namespace" in caught.value.instead.hint


def test_a_budget_may_say_that_its_calls_fail(budgeted, provider):
    with pytest.raises(BudgetError, match="may cost"):
        ask(budgeted, caller(MOST - 1, reaction="fail"))

    assert provider.asked == []


def test_money_that_calls_in_flight_may_give_back_is_waited_for_whatever_the_budget_says(
    budgeted, ledger, provider, woken
):
    def another():
        provider.will = None
        with pytest.raises(NotNow, match="in flight"):
            ask(budgeted, caller(MOST + COST, reaction="fail", step="b"))

    provider.will = another

    ask(budgeted, caller(MOST + COST, reaction="fail"))

    assert woken == ["r\tb"]
    assert len(ask(budgeted, caller(MOST + COST, reaction="fail", step="b")).reply.output) > 0


def test_a_cheaper_model_is_taken_where_the_budget_says_so(budgeted, ledger, provider):
    who = caller(MOST - 1, reaction="cheaper_model", models=("claude-fable-5", CHEAPER, CHEAPEST))

    answer = ask(budgeted, who)

    assert [call.model for call in provider.asked] == [CHEAPER]  # the first one is dearer
    assert answer.instead_of == MODEL
    assert held(ledger) == (cost_nanos(CHEAPER, USAGE), 0, 0)
    outcome = succeeded(answer, step("a", model=MODEL), attempts=1)
    assert (outcome.result["model"], outcome.result["instead_of"]) == (CHEAPER, MODEL)
    assert outcome.asked_model == CHEAPER


def test_the_ladder_is_gone_down_as_far_as_there_is_money(budgeted, provider):
    cheapest = most_nanos(AgentCall(**{**CALL.__dict__, "model": CHEAPEST}))
    who = caller(cheapest, reaction="cheaper_model", models=(CHEAPER, CHEAPEST))

    ask(budgeted, who)

    assert [call.model for call in provider.asked] == [CHEAPEST]


def test_below_the_last_step_of_the_ladder_the_call_waits(budgeted, provider):
    with pytest.raises(NotNow, match="the budget namespace"):
        ask(budgeted, caller(1, reaction="cheaper_model", models=(CHEAPER, "my-own-model")))

    assert provider.asked == []


def test_whom_a_guard_refuses_gets_its_money_back(budgeted, ledger, provider):
    provider.will = NotNow("the circuit breaker is open", 5.0)

    with pytest.raises(NotNow):
        ask(budgeted, caller())

    assert held(ledger) == (0, 0, 0)


def test_a_failed_probe_pays_what_it_cost(budgeted, ledger, provider):
    provider.will = NotNow("open", 5.0, probe=CallTimeoutError("too slow"))

    with pytest.raises(NotNow):
        ask(budgeted, caller())

    assert held(ledger) == (0, 0, MOST)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OverloadedError("529"), (0, 0, 0)),
        (CallRejectedError("400", {"status": 400}), (0, 0, 0)),
        (RefusedError("no", {"usage": USAGE.model_dump()}), (COST, 0, 0)),
        (CallTimeoutError("slow", {"usage": USAGE.model_dump()}), (0, 0, MOST)),
        (ConnectionFailedError("reset", {"kind": "before_reply"}), (0, 0, MOST)),
        (ConnectionFailedError("nowhere", {"kind": "connect"}), (0, 0, 0)),
        (KeyboardInterrupt(), (0, 0, MOST)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_a_failed_call_pays_what_it_may_have_cost(budgeted, ledger, provider, error, expected):
    provider.will = error

    with pytest.raises(type(error)):
        ask(budgeted, caller())

    assert held(ledger) == expected


def test_a_model_without_a_known_price_is_never_counted_as_nothing(budgeted, provider):
    call = AgentCall(**{**CALL.__dict__, "model": "my-own-model"})

    with pytest.raises(BudgetError, match="price of the model 'my-own-model' is not known"):
        budgeted.ask(call, caller(), CancelToken())

    assert provider.asked == []


def test_without_the_server_no_money_is_spent(provider):
    class Away:
        def __getattr__(self, name):
            raise redis.ConnectionError("away")

    budgeted = Budgeted(provider, Ledger(Away(), Keys()), wake=list)

    with pytest.raises(NotNow, match="cannot be asked"):
        ask(budgeted, caller())
    assert provider.asked == []


def test_the_heartbeat_keeps_the_reservations_of_calls_under_way(provider, client, monkeypatch):
    moment = scripted_server_time(monkeypatch)
    ledger = Ledger(client, Keys(), BudgetPolicy(lease_seconds=8, known_seconds=0))
    budgeted = Budgeted(provider, ledger, wake=list)
    beat = renew_all(budgeted.renew)

    def long():
        for _ in range(3):
            moment.advance(6)
            beat()
        ledger.settle(ledger.reserve([Limit("namespace", 10 * MOST)], 1), 0)  # looks for what has lapsed

    provider.will = long
    ask(budgeted, caller())

    assert held(ledger) == (COST, 0, 0)


def test_a_renewal_that_fails_does_not_keep_the_others_from_theirs():
    done = []

    def fails():
        raise redis.ConnectionError("away")

    renew_all(fails, lambda: done.append(1))()

    assert done == [1]


class TestHere:
    """One execution in this process, with a budget of its own."""

    def test_it_is_asked_while_the_most_that_it_may_cost_is_left(self):
        capped = Capped(Direct(), Limit("run", MOST + COST))

        assert [capped.ask(CALL).output for _ in range(2)] == ["fine", "fine"]
        with pytest.raises(BudgetError, match="may cost"):
            capped.ask(CALL)

    def test_an_unknown_price_is_refused(self):
        with pytest.raises(BudgetError, match="not known"):
            Capped(Direct(), Limit("run", MOST)).ask(AgentCall(**{**CALL.__dict__, "model": "x"}))


class Direct:
    def ask(self, call, token=None, *, began=None):
        return AgentReply("fine", call.model, USAGE, "end_turn")


def test_a_call_of_a_chosen_model_is_not_made_beyond_the_threshold(budgeted, provider):
    ask(budgeted, Caller(waiter="r\ta", holder="r\ta\t1", most_nanos=MOST))

    with pytest.raises(BudgetError, match="threshold"):
        ask(budgeted, Caller(waiter="r\ta", holder="r\ta\t1", most_nanos=MOST - 1))

    assert len(provider.asked) == 1
