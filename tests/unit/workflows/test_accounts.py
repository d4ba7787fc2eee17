"""What was executed and spent is summed by day, workflow, agent and model, each execution once."""

import time
from dataclasses import replace

import pytest

from cf_workers.workflows.accounts import Accounts, AccountsPolicy, Sample
from cf_workers.workflows.outcome import Outcome
from cf_workers.workflows.record import NewRun
from cf_workers.workflows.steps import RecordPolicy
from tests.support.engine import Engine, ServerTime, plan, step
from tests.support.keys import assert_nothing_leaked

MODEL = "claude-haiku-4-5"
ANSWERED = Outcome(
    "succeeded",
    attempts=1,
    output="fine",
    input_tokens=100,
    output_tokens=7,
    cost_nanos=135_000,
    asked_model=MODEL,
    result={"agent": "a", "model": MODEL, "usage": {"input_tokens": 100}, "execution_time_ms": 1234.4},
)
HIT = replace(
    ANSWERED, attempts=0, cost_nanos=0, input_tokens=0, output_tokens=0, saved_nanos=135_000,
    result={**ANSWERED.result, "cached": True, "execution_time_ms": 0},
)  # fmt: skip
UNPRICED = replace(ANSWERED, cost_nanos=None, result={**ANSWERED.result, "model": "claude-of-tomorrow"})


@pytest.fixture
def engine(request):
    made = Engine(RecordPolicy(accounts=AccountsPolicy(samples_kept=3)))
    yield made
    assert_nothing_leaked(made.client, request.module)
    made.close()


@pytest.fixture
def accounts(engine):
    return Accounts(engine.client, engine.keys)


def sums(accounts, date=None):
    return {(row.workflow, row.agent, row.model): dict(row.sums) for row in accounts.day(date)}


def test_a_commit_counts_once_even_when_it_is_repeated(engine, accounts):
    header = engine.record(plan("a"))
    claim = engine.claim(header, "a")

    for _ in range(3):
        engine.store.commit(claim, ANSWERED)

    assert sums(accounts) == {
        ("review", "a", MODEL): {
            "executions": 1,
            "succeeded": 1,
            "input_tokens": 100,
            "output_tokens": 7,
            "cost_nanos": 135_000,
            "milliseconds": 1234,
        }
    }


def test_a_commit_that_comes_too_late_counts_nothing(engine, accounts):
    header = engine.record(plan("a"))
    stale = engine.claim(header, "a")
    engine.store.defer(stale, attempts=0, countdown=0, reason="draining")
    engine.store.commit(engine.claim(header, "a"), ANSWERED)

    assert engine.store.commit(stale, ANSWERED) is None
    assert sums(accounts)["review", "a", MODEL]["executions"] == 1


def test_a_hit_costs_nothing_and_records_what_it_saved(engine, accounts):
    engine.finish_step(engine.record(plan("a")), "a", HIT)

    assert sums(accounts)["review", "a", MODEL] == {
        "executions": 1, "succeeded": 1, "cached": 1, "saved_nanos": 135_000
    }  # fmt: skip
    assert accounts.samples("a", MODEL) == []


def test_an_unknown_price_is_counted_and_never_zero_dollars(engine, accounts):
    header = engine.record(plan("a"))
    engine.finish_step(header, "a", UNPRICED)

    assert sums(accounts)["review", "a", "claude-of-tomorrow"]["unpriced"] == 1
    assert engine.history.document(header.run)["estimated_cost"] is None


def test_what_a_failed_attempt_cost_belongs_to_the_day_as_to_the_run(engine, accounts):
    header = engine.record(plan("a"))
    failed = replace(ANSWERED, status="failed", cost_nanos=11)
    claim = engine.claim(header, "a")
    for _ in range(2):
        engine.store.defer(claim, attempts=1, countdown=0, reason="overloaded", spent=failed)

    engine.finish_step(header, "a", ANSWERED)

    found = sums(accounts)["review", "a", MODEL]
    assert found["cost_nanos"] == int(engine.field(header.run, "cost_nanos")) == 135_011
    assert found["executions"] == 1
    assert found["input_tokens"] == int(engine.field(header.run, "input_tokens")) == 200


def test_a_step_that_was_not_executed_is_no_execution(engine, accounts):
    skipped = Outcome("skipped", attempts=0, result={"agent": "a", "error": None})

    engine.finish_step(engine.record(plan("a")), "a", skipped)

    assert accounts.day() == []


def test_a_single_execution_belongs_to_no_workflow(engine, accounts):
    single = plan("a", name="a")
    engine.definitions.pin("e1", {single.digest: single.text}, 1000)
    engine.store.start(NewRun(run="e1", kind="agent", plan=single))
    engine.finish_step(engine.store.header("e1", 1), "a", ANSWERED)

    assert list(sums(accounts)) == [("", "a", MODEL)]


def test_an_execution_belongs_to_the_day_on_which_it_ended(engine, accounts, monkeypatch):
    clock = ServerTime(monkeypatch)
    before = _day(clock)
    header = engine.record(plan("a", "b"))
    engine.finish_step(header, "a", ANSWERED)
    clock.advance(86_400)

    engine.finish_step(header, "b", ANSWERED)

    assert [sums(accounts, day)["review", "a", MODEL]["executions"] for day in (before, _day(clock))] == [
        1,
        1,
    ]
    assert engine.client.ttl(engine.keys.daily(before)) > 0


def test_the_latest_executions_are_kept_as_samples_under_the_model_that_was_asked_for(engine, accounts):
    header = engine.record(plan(*(step(f"s{n}", agent="a") for n in range(5))))
    for n in range(5):
        reply = {**ANSWERED.result, "model": f"{MODEL}-20251001"}
        engine.finish_step(header, f"s{n}", replace(ANSWERED, output_tokens=n, result=reply))

    assert accounts.samples("a", MODEL) == [Sample(100, n, 1.234, 135_000) for n in (4, 3, 2)]


def _day(clock):
    return time.strftime("%Y-%m-%d", time.gmtime(clock.now()))
