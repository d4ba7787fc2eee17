"""Parked steps are woken when the guards have room for them before their turn."""

from __future__ import annotations

import random

import pytest

from cf_workers._redis import Keys
from cf_workers.resilience import Ask, FairnessPolicy, Guard, GuardPolicy, Scope, WindowPolicy, answered
from cf_workers.tasks.turns import Turns
from tests.support.engine import Engine, plan

SCOPE = Scope("c", "opus")
FINE = answered(input_tokens=1, output_tokens=1)
PERMANENT_KEYS = ("cfw:guards",)


class World:
    """One slot, taken; steps that were refused for it, and are parked unless a test says otherwise."""

    def __init__(self, engine: Engine, server_time) -> None:
        self.engine = engine
        self.time = server_time
        policy = GuardPolicy(
            window=WindowPolicy(cap=1, least=1), fairness=FairnessPolicy(interactive_reserve=0)
        )
        self.guard = Guard(engine.client, Keys(), policy, draw=random.Random(7).random)
        self.turns = Turns(engine.client, self.guard, clock=server_time.now)
        self.permit = self.guard.admit(Ask(SCOPE)).permit

    def refused(self, run: str):
        """A step that is claimed and then refused; it waits for its turn."""
        header = self.engine.record(plan("only"), run)
        claim = self.engine.claim(header, "only")
        self.guard.admit(Ask(SCOPE, tenant="cfw", waiter=claim.waiter))
        return claim

    def park(self, claim) -> None:
        assert self.engine.store.park(claim, countdown=100, reason="in flight")

    def free(self) -> None:
        self.time.advance(2)
        self.guard.settle(self.permit, FINE)

    def woken(self) -> list[str]:
        return self.engine.client.zrangebyscore(self.engine.keys.parked, 0, 0)


@pytest.fixture
def world(server_time):
    engine = Engine()
    yield World(engine, server_time)
    engine.close()


def test_a_slot_that_comes_free_wakes_one_parked_step(world) -> None:
    for run in ("r1", "r2"):
        world.park(world.refused(run))
    world.turns.bring_forward()
    assert world.woken() == []

    world.free()
    world.turns.bring_forward()
    world.turns.bring_forward()

    assert world.woken() == ["r1\tonly"]


def test_a_step_that_is_only_about_to_be_parked_is_woken_once_it_is(world) -> None:
    claim = world.refused("r1")
    world.free()
    world.turns.bring_forward()
    assert world.woken() == []

    world.park(claim)
    world.turns.bring_forward()

    assert world.woken() == ["r1\tonly"]


def test_a_step_that_runs_after_all_is_not_looked_for_for_long(world) -> None:
    claim = world.refused("r1")
    world.free()
    world.turns.bring_forward()
    world.time.advance(1.5)
    world.turns.bring_forward()

    world.park(claim)
    world.turns.bring_forward()

    assert world.woken() == []


def test_a_step_that_is_gone_gives_its_turn_to_the_next(world) -> None:
    world.refused("r1")
    world.park(world.refused("r2"))
    world.engine.client.delete(world.engine.keys.run("r1").steps)
    world.free()

    world.turns.bring_forward()
    world.turns.bring_forward()

    assert world.woken() == ["r2\tonly"]
    assert world.guard.status(SCOPE).waiters.total == 1


def test_steps_of_another_namespace_that_shares_the_credential_are_woken_as_well(world) -> None:
    other = Engine(client=world.engine.client)
    world.engine.client.hset(Keys("blue").run("r9").steps, "only", '{"s": "parked", "f": 1}')
    world.engine.client.zadd(Keys("blue").parked, {"r9\tonly": 10**11})
    world.guard.admit(Ask(SCOPE, tenant="blue", waiter="r9\tonly"))
    world.free()

    world.turns.bring_forward()

    assert world.engine.client.zscore(Keys("blue").parked, "r9\tonly") == 0
    world.engine.client.delete(Keys("blue").run("r9").steps, Keys("blue").parked)
    other.app.close()
