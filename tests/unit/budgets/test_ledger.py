"""What is spent and reserved never exceeds a budget, whoever asks and whoever dies."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from cf_workers._redis import Keys
from cf_workers.budgets import BudgetPolicy, Exhausted, Ledger, Limit, Reservation
from tests.support.engine import fake_client

CENT = 10_000_000
NAMESPACE = Limit("namespace", 10 * CENT)
AGENT = Limit("agent:writer", 3 * CENT, "day")


def status(ledger, scope="namespace"):
    return next(one for one in ledger.statuses() if one.scope == scope)


def test_a_settled_call_has_spent_what_it_cost_and_gives_the_rest_back(ledger):
    reservation = ledger.reserve([NAMESPACE], 4 * CENT)
    assert status(ledger).reserved == 4 * CENT

    ledger.settle(reservation, 1 * CENT)

    found = status(ledger)
    assert (found.spent, found.reserved, found.uncertain, found.left) == (CENT, 0, 0, 9 * CENT)


def test_a_settlement_counts_once_even_when_it_is_repeated(ledger):
    reservation = ledger.reserve([NAMESPACE], 4 * CENT)

    for _ in range(3):
        ledger.settle(reservation, 1 * CENT)

    assert (status(ledger).spent, status(ledger).reserved) == (CENT, 0)


def test_a_call_is_paid_from_every_budget_that_applies_or_from_none(ledger):
    assert isinstance(ledger.reserve([NAMESPACE, AGENT], 2 * CENT), Reservation)

    refused = ledger.reserve([NAMESPACE, AGENT], 2 * CENT)

    assert isinstance(refused, Exhausted)
    assert refused.limit.scope == "agent:writer"
    assert status(ledger).reserved == status(ledger, "agent:writer").reserved == 2 * CENT


def test_an_amount_can_be_spent_to_the_last_billionth_and_no_further(ledger):
    assert isinstance(ledger.reserve([NAMESPACE], 10 * CENT - 1), Reservation)
    assert isinstance(ledger.reserve([NAMESPACE], 2), Exhausted)
    assert isinstance(ledger.reserve([NAMESPACE], 1), Reservation)


def test_a_budget_of_nothing_pays_for_nothing(ledger):
    refused = ledger.reserve([Limit("namespace", 0)], 1)

    assert (refused.left, refused.for_good) == (0, True)


def test_a_refusal_tells_whether_calls_in_flight_may_still_give_something_back(ledger):
    first = ledger.reserve([NAMESPACE], 8 * CENT)
    assert not ledger.reserve([NAMESPACE], 5 * CENT).for_good

    ledger.settle(first, 8 * CENT)

    refused = ledger.reserve([NAMESPACE], 5 * CENT)
    assert refused.for_good
    assert refused.left == 2 * CENT


def test_of_two_budgets_that_are_short_the_one_that_stays_so_is_named(ledger):
    ledger.reserve([NAMESPACE], 9 * CENT)
    ledger.settle(ledger.reserve([AGENT], 3 * CENT), 3 * CENT)

    assert ledger.reserve([NAMESPACE, AGENT], 2 * CENT).limit.scope == "agent:writer"


def test_who_waits_is_woken_when_a_call_gives_money_back(ledger):
    first = ledger.reserve([NAMESPACE], 9 * CENT)
    refused = ledger.reserve([NAMESPACE], 9 * CENT, waiter="r\ta")
    assert ledger.waits(refused.account, "r\ta")

    assert ledger.settle(first, 1 * CENT) == ["r\ta"]
    assert not ledger.waits(refused.account, "r\ta")


def test_nobody_is_woken_for_less_than_a_call_needs(ledger):
    first = ledger.reserve([NAMESPACE], 6 * CENT)
    ledger.reserve([NAMESPACE], 6 * CENT, waiter="r\ta")

    assert ledger.settle(first, 5 * CENT) == []


def test_who_waits_longest_is_woken_first_and_as_many_as_there_is_money_for(ledger, server_time):
    first, second, _ = (ledger.reserve([NAMESPACE], 3 * CENT) for _ in range(3))
    for name in ("a", "b", "c", "d"):
        server_time.advance(1)
        ledger.reserve([NAMESPACE], 3 * CENT, waiter=f"r\t{name}")

    assert ledger.settle(first, 0) == ["r\ta"]
    assert ledger.settle(second, 0) == ["r\tb", "r\tc"]


def test_raising_a_budget_wakes_all_who_wait_for_it(ledger):
    ledger.settle(ledger.reserve([NAMESPACE], 10 * CENT), 10 * CENT)
    for name in ("a", "b"):
        ledger.reserve([NAMESPACE], CENT, waiter=f"r\t{name}")

    assert sorted(ledger.set("namespace", 20 * CENT)) == ["r\ta", "r\tb"]
    assert isinstance(ledger.reserve([NAMESPACE], CENT), Reservation)
    assert status(ledger).limit == 20 * CENT


def test_an_amount_set_by_hand_wins_over_the_declared_one_until_it_is_taken_back(ledger):
    ledger.set("agent:writer", 1 * CENT)

    (lowered,) = ledger.in_force(lambda: ["agent:writer"], [AGENT])
    assert (lowered.nanos, lowered.per) == (1 * CENT, "day")
    assert isinstance(ledger.reserve([AGENT], 2 * CENT), Exhausted)

    ledger.set("agent:writer", None)
    assert ledger.in_force(lambda: ["agent:writer"], [AGENT]) == (AGENT,)
    assert isinstance(ledger.reserve([AGENT], 2 * CENT), Reservation)


def test_a_budget_that_nobody_declared_can_be_set_by_hand(ledger):
    ledger.set("workflow:bug-fix", CENT, "month")

    assert ledger.in_force(lambda: ["workflow:bug-fix"], []) == (Limit("workflow:bug-fix", CENT, "month"),)
    assert ledger.in_force(lambda: ["workflow:other"], []) == ()


def test_amounts_of_runs_that_are_no_longer_kept_are_forgotten(ledger):
    for run in ("old", "new"):
        ledger.set(f"run:{run}", CENT)
    ledger.set("namespace", CENT)

    ledger.drop_runs(lambda run: run == "old")

    assert sorted(ledger.by_hand()) == ["namespace", "run:new"]


def test_each_day_has_its_own_money(ledger, server_time, monkeypatch):
    monkeypatch.setattr("cf_workers.budgets.limit.time", server_time_as_module(server_time))
    day = Limit("day", CENT, "day")
    ledger.settle(ledger.reserve([day], CENT), CENT)
    assert isinstance(ledger.reserve([day], CENT), Exhausted)

    server_time.advance(86_400)

    assert isinstance(ledger.reserve([day], CENT), Reservation)


def test_a_reservation_that_is_renewed_does_not_lapse(ledger, server_time):
    reservation = ledger.reserve([NAMESPACE], CENT)
    for _ in range(5):
        server_time.advance(7)
        assert ledger.renew([reservation]) == 1

    ledger.reserve([NAMESPACE], CENT)

    assert status(ledger).uncertain == 0


def test_what_a_dead_workers_call_may_have_cost_counts_as_spent(ledger, server_time):
    ledger.reserve([NAMESPACE], 4 * CENT)
    server_time.advance(9)

    assert isinstance(ledger.reserve([NAMESPACE], 7 * CENT), Exhausted)

    found = status(ledger)
    assert (found.reserved, found.uncertain, found.left) == (0, 4 * CENT, 6 * CENT)


def test_a_worker_that_was_only_slow_settles_what_had_lapsed(ledger, server_time):
    slow = ledger.reserve([NAMESPACE], 4 * CENT)
    server_time.advance(9)
    ledger.reserve([NAMESPACE], CENT)
    assert ledger.renew([slow]) == 0

    ledger.settle(slow, CENT)

    found = status(ledger)
    assert (found.spent, found.reserved, found.uncertain) == (CENT, CENT, 0)


def test_a_call_whose_cost_nobody_knows_counts_as_the_most_it_could_cost(ledger):
    ledger.settle(ledger.reserve([NAMESPACE], 4 * CENT), None)

    assert (status(ledger).spent, status(ledger).uncertain) == (0, 4 * CENT)


def test_statuses_show_what_was_declared_even_if_it_was_never_used(ledger):
    (found,) = ledger.statuses([AGENT])

    assert (found.scope, found.limit, found.left, found.by_hand) == (
        "agent:writer",
        3 * CENT,
        3 * CENT,
        False,
    )


def test_while_the_server_is_away_budgets_set_by_hand_are_as_they_were_and_nothing_is_reserved(client):
    class Away:
        def __init__(self):
            self.away = False

        def __getattr__(self, name):
            if self.away:
                raise redis.ConnectionError("away")
            return getattr(client, name)

    there = Away()
    ledger = Ledger(there, Keys(), BudgetPolicy(known_seconds=0))
    ledger.set("namespace", CENT)
    ledger.by_hand()
    there.away = True

    assert ledger.in_force(lambda: ["namespace"], []) == (Limit("namespace", CENT),)
    with pytest.raises(redis.ConnectionError):
        ledger.reserve([NAMESPACE], CENT)


def test_many_threads_with_random_costs_never_overspend_and_lose_nothing():
    client = fake_client()
    limits = [Limit("namespace", 100_000), Limit("agent:a", 60_000), Limit("agent:b", 60_000)]
    spent = {"agent:a": [], "agent:b": []}

    def work(seed):
        chance, ledger = random.Random(seed), Ledger(client, Keys())
        for _ in range(40):
            agent = chance.choice(limits[1:])
            wanted = chance.randrange(1, 2000)
            found = ledger.reserve([limits[0], agent], wanted)
            if isinstance(found, Reservation):
                cost = chance.randrange(wanted + 1)
                ledger.settle(found, cost)
                spent[agent.scope].append(cost)
            for one in ledger.statuses():
                assert one.left >= 0

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))

    found = {one.scope: one for one in Ledger(client, Keys()).statuses()}
    assert found["namespace"].spent == sum(map(sum, spent.values())) > 0
    assert found["agent:a"].spent == sum(spent["agent:a"])
    assert all((one.reserved, one.uncertain) == (0, 0) for one in found.values())


def server_time_as_module(scripted):
    """The time module, with the fake server's clock."""
    import time as real
    from types import SimpleNamespace

    return SimpleNamespace(time=scripted.time, gmtime=real.gmtime, strftime=real.strftime)
