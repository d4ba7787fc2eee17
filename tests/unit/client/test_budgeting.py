"""Budgets are read and raised from a program; what none can hold for is refused before it is enqueued."""

import pytest

from cf_workers.budgets import Ledger, Limit
from cf_workers.errors import ConfigError, InputError, UnknownRunError
from cf_workers.planning import WorkflowOptions
from tests.support.engine import Engine
from tests.support.offline import offline_client
from tests.support.projects import write_project

CENT = 10_000_000


@pytest.fixture
def engine():
    made = Engine()
    yield made
    made.close()


@pytest.fixture
def client(engine, tmp_path):
    file = write_project(
        tmp_path, "writer", workflows={"w": ["writer"]}, budgets={"day": 5, "agents": {"writer": 1}}
    )
    return offline_client(engine, file)


def budgets_of(engine, run):
    return {one["scope"]: one["nanos"] for one in engine.store.header(run, 1).options["budgets"]}


def test_what_is_started_keeps_the_budgets_that_apply_to_it(client, engine):
    execution = client.submit("writer", "hi", max_cost_usd=0.5).id
    run = client.start_workflow("w", "hi", max_cost_usd=2.5, options=WorkflowOptions(max_cost_usd=9)).id

    declared = {"day": 500 * CENT, "agent:writer": 100 * CENT}
    assert budgets_of(engine, execution) == {**declared, f"run:{execution}": 50 * CENT}
    assert budgets_of(engine, run) == {**declared, f"run:{run}": 250 * CENT}


def test_declared_budgets_are_shown_before_anything_was_spent(client):
    found = {one.scope: (one.limit, one.spent, one.by_hand) for one in client.budgets.status()}

    assert found == {"day": (500 * CENT, 0, False), "agent:writer": (100 * CENT, 0, False)}


def test_a_budget_is_set_and_taken_back(client):
    client.budgets.set("day", "7.50")
    (day,) = (one for one in client.budgets.status() if one.scope == "day")
    assert (day.limit, day.by_hand) == (750 * CENT, True)

    client.budgets.unset("day")
    (day,) = (one for one in client.budgets.status() if one.scope == "day")
    assert (day.limit, day.by_hand) == (500 * CENT, False)


def test_raising_a_runs_budget_lets_its_parked_steps_go_on(client, engine):
    run = client.start_workflow("w", "hi", max_cost_usd=0).id
    header = engine.store.header(run, 1)
    claim = engine.claim(header, "1-writer")
    Ledger(engine.client, engine.keys).reserve(_own(header), CENT, waiter=claim.waiter)
    engine.store.park(claim, countdown=3600, reason="no money")
    assert client.run(run).status() == "parked"

    assert client.budgets.set(f"run:{run}", 1) == 1

    assert engine.client.zscore(engine.keys.parked, claim.waiter) == 0  # due, before all others


def test_a_run_that_is_not_there_has_no_budget(client):
    with pytest.raises(UnknownRunError):
        client.budgets.set("run:nobody", 1)


@pytest.mark.parametrize(("scope", "usd"), [("agnt:x", 1), ("day", "much"), ("day", -1)])
def test_what_cannot_be_meant_is_refused(client, engine, scope, usd):
    with pytest.raises(InputError):
        client.budgets.set(scope, usd)

    assert engine.client.hgetall(engine.keys.budgets) == {}


def test_a_budget_set_by_hand_refuses_models_without_a_price_before_they_are_enqueued(
    client, engine, tmp_path
):
    write_project(tmp_path, "writer", workflows={"w": ["writer"]})  # declares no budget any more
    client.submit("writer", "hi", model="my-own-model")
    engine.published()
    client.budgets.set("agent:writer", 1)

    with pytest.raises(ConfigError, match="budget agent:writer cannot hold"):
        client.submit("writer", "hi", model="my-own-model")
    assert engine.published() == []


def _own(header):
    return [Limit.of_json(raw) for raw in header.options["budgets"] if raw["scope"].startswith("run:")]
