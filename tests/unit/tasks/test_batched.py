"""Steps of the batch lane, from their message through a batch to their commit."""

from dataclasses import replace

import fakeredis
import pytest
from celery.exceptions import Retry

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.estimate import most_nanos
from cf_workers.batches import BatchPolicy, Courier, PackTable, RowTable
from cf_workers.budgets import BudgetPolicy, Ledger, Limit
from cf_workers.cache import Cache, CachePolicy, GivenSecret
from cf_workers.errors import BudgetError, CallRejectedError, RefusedError
from cf_workers.tasks import asking, execute_step, poll_batches, run_agent, runtime
from cf_workers.tasks.batch_desk import BatchDesk
from cf_workers.tasks.batch_lane import BatchLane
from cf_workers.tasks.batch_money import BatchMoney
from cf_workers.tasks.batched import Batched
from cf_workers.tasks.budgeted import Budgeted
from cf_workers.tasks.cached import Cached
from cf_workers.workflows.reconciler import Reconciler
from tests.support.batches import ScriptedProvider, asked_by
from tests.support.engine import ServerTime, plan, step

HAIKU_BATCH = (1000 * 0.5 + 100 * 2.5) / 1e6
"""Half of 1 and 5 dollars a million tokens, for what `tests.support.batches` has every row cost.
https://platform.claude.com/docs/en/about-claude/pricing"""
SOON, LATE = 600.0, 100_000.0


class Night:
    """A worker with a batch lane whose provider is scripted, and a clock that a test moves."""

    def __init__(self, worker, time, **policy):
        self.worker, self.engine, self.time = worker, worker.engine, time
        self.policy = BatchPolicy(**{"linger_seconds": 60.0, "poll_seconds": 30.0, **policy})
        self.provider = ScriptedProvider(time.now)
        client, keys, store = self.engine.client, self.engine.keys, self.engine.store
        server = client.connection_pool.connection_kwargs["server"]
        self.cache = Cache(
            fakeredis.FakeRedis(server=server), keys, GivenSecret(b"secret"), policy=CachePolicy()
        )
        rows, packs = RowTable(client, keys, results_seconds=1000), PackTable(client, keys)
        cached = Cached(worker.runtime.answering, self.cache, namespace="n", wake=store.unpark)
        self.budgets = Ledger(client, keys, BudgetPolicy())
        money = BatchMoney(self.budgets, wake=store.unpark)
        desk = BatchDesk(store, worker.runtime.agents.get, self.cache, money, policy=self.policy)
        courier = Courier(rows, packs, self.provider, desk, clock=time.now, policy=self.policy)
        self.polls = []
        self.lane = BatchLane(
            client,
            keys,
            packs,
            courier,
            publish=lambda: self.polls.append(1),
            worker="w1",
            policy=self.policy,
        )
        self.reconciler = Reconciler(
            client,
            keys,
            store=store,
            launcher=worker.runtime.launcher,
            heartbeat=worker.heartbeat,
            queue_length=lambda _: 1,
            chores=[self.lane.remind],
        )
        worker.runtime = replace(
            worker.runtime,
            answering=Batched(cached, rows, packs, self.cache, money, namespace="n", policy=self.policy),
            is_cacheable=lambda step: step.cacheable is not False,
            batches=self.lane,
        )

    def record(self, *steps, run="r1", **rest):
        steps = [one.model_copy(update={"lane": rest.pop("lane", "batch")}) for one in steps]
        return self.worker.record(plan(*steps), run=run, **rest)

    def execute(self, header, id="a"):
        """Deliver the message of a step; how its task ended."""
        try:
            with self.worker.delivery(execute_step, header.run, id, header.attempt, id=f"{header.run}:{id}"):
                execute_step.run(header.run, id, header.attempt)
        except Retry as again:
            return str(again.message)
        return "done"

    def tick(self, after=0.0):
        """Time passes and the reconciler looks; the steps whose messages it has published."""
        self.time.advance(after)
        self.worker.heartbeat.beat()
        self.reconciler.tick()
        if self.polls:
            self.polls.clear()
            self.lane.poll()
        return [message.step for message in self.worker.published()]

    def until_landed(self):
        """The batch goes out, ends, and is fetched."""
        self.tick(after=61)
        self.provider.end()
        self.tick(after=31)

    def result(self, header, id="a"):
        return self.engine.history.document(header.run)["results"][id]

    def document(self, header):
        return self.engine.history.document(header.run)


@pytest.fixture
def night(worker, monkeypatch):
    made = Night(worker, ServerTime(monkeypatch))
    monkeypatch.setattr(runtime, "_factory", lambda: worker.runtime)
    monkeypatch.setattr(runtime, "_current", None)
    return made


def test_a_step_of_the_batch_lane_is_parked_until_its_batch_has_ended(night):
    header = night.record(step("a", task="Think."))

    assert night.execute(header) == "waiting for a message batch"
    assert night.document(header)["status"] == "parked"
    assert night.worker.published() == [], "no message waits anywhere"

    night.tick(after=61)
    assert night.result(header)["waits_for"] == "in batch msgbatch_1"
    night.provider.end()
    night.tick(after=31)
    assert night.tick() == ["a"], "a light task of its own commits each row"

    assert night.execute(header) == "done"
    result = night.result(header)
    assert (result["status"], result["output"]) == ("succeeded", "the batch says hello")
    assert result["metadata"]["batch"] == "msgbatch_1"
    assert result["estimated_cost"] == pytest.approx(HAIKU_BATCH)
    assert night.document(header)["estimated_cost"] == pytest.approx(HAIKU_BATCH)
    assert night.worker.model.asked == []


def test_a_row_asks_what_the_step_would_have_asked(night):
    header = night.record(step("a", task="Think."), step("b", "a", task="Think on."))
    for id in "ab":
        night.execute(header, id)
        night.until_landed()
        night.execute(header, id)

    first, second = night.provider.batches.values()
    assert "Think." in asked_by(first.requests[0])
    assert "the batch says hello" in asked_by(second.requests[0])
    definition = night.worker.runtime.agents.get(header.plan.by_id["a"].definition)
    assert first.requests[0].params["system"] == [{"type": "text", "text": definition.text}]
    assert set(first.requests[0].params) == {"model", "max_tokens", "messages", "system"}


@pytest.mark.parametrize(("rows", "marked"), [(9, False), (10, True)])
def test_the_prompt_cache_is_used_where_enough_rows_share_a_definition(night, rows, marked):
    steps = [step(f"s{n}", agent="writer", task=f"Write {n}.") for n in range(rows)]
    header = night.record(*steps)
    for one in steps:
        night.execute(header, one.id)

    night.tick(after=61)

    (batch,) = night.provider.batches.values()
    controls = {
        tuple(sorted(block.get("cache_control", {}).items()))
        for request in batch.requests
        for block in request.params["system"]
    }
    assert controls == ({(("ttl", "1h"), ("type", "ephemeral"))} if marked else {()})


def test_equal_calls_of_two_runs_are_one_row_and_one_of_them_pays(night):
    headers = [night.record(step("a", task="Think."), run=run) for run in ("r1", "r2")]
    for header in headers:
        night.execute(header)
    night.until_landed()
    for header in headers:
        night.execute(header)

    (batch,) = night.provider.batches.values()
    assert len(batch.requests) == 1
    costs = [night.result(header)["estimated_cost"] for header in headers]
    assert sorted(costs) == [0.0, pytest.approx(HAIKU_BATCH)]
    saved = [night.document(header)["saved_cost"] for header in headers]
    assert sorted(saved) == [0.0, pytest.approx(HAIKU_BATCH)]
    assert [night.result(header)["cached"] for header in headers] == [False, True]


def test_calls_that_are_not_to_be_shared_have_a_row_each(night):
    headers = [night.record(step("a", task="Think.", cacheable=False), run=run) for run in ("r1", "r2")]
    for header in headers:
        night.execute(header)
    night.until_landed()
    for header in headers:
        night.execute(header)

    assert [night.result(header)["cached"] for header in headers] == [False, False]
    assert sum(night.provider.paid.values()) == 2


def test_an_answer_that_is_known_goes_into_no_batch(night):
    first = night.record(step("a", task="Think."))
    night.execute(first)
    night.until_landed()
    night.execute(first)

    second = night.record(step("a", task="Think."), run="r2")

    assert night.execute(second) == "done"
    assert night.result(second)["cached"]
    assert len(night.provider.batches) == 1


def test_an_answer_that_came_to_be_known_while_its_row_waited_is_not_asked_for(night):
    waits = night.record(step("a", task="Think."))
    night.execute(waits)
    night.execute(night.record(step("a", task="Think."), run="r2", lane="interactive"))

    night.tick(after=61)

    assert night.provider.batches == {}
    assert night.tick() == ["a"]
    assert night.execute(waits) == "done"
    assert night.result(waits)["cached"]


def test_a_row_that_came_back_is_paid_by_its_step_though_the_cache_has_an_answer_by_now(night):
    waits = night.record(step("a", task="Think."))
    night.execute(waits)
    night.tick(after=61)
    night.execute(night.record(step("a", task="Think."), run="r2", lane="interactive"))
    night.provider.end()
    night.tick(after=31)

    night.execute(waits)
    night.tick(after=61)

    assert night.result(waits)["estimated_cost"] == pytest.approx(HAIKU_BATCH)
    assert night.document(waits)["lost_calls"] == 0


def test_a_cancelled_run_s_row_is_not_sent(night):
    header = night.record(step("a", task="Think."))
    night.execute(header)
    night.engine.store.stop(header.run, "cancelled")

    night.tick(after=61)

    assert night.provider.batches == {}


def test_what_a_cancelled_run_had_in_a_batch_is_booked_as_lost_and_kept_for_others(night):
    header = night.record(step("a", task="Think."))
    night.execute(header)
    night.tick(after=61)
    night.engine.store.stop(header.run, "cancelled")
    night.engine.store.finish(header.run, 1)
    night.provider.end()
    night.tick(after=31)

    document = night.document(header)
    assert (document["status"], document["lost_calls"]) == ("cancelled", 1)
    assert document["estimated_cost"] == pytest.approx(HAIKU_BATCH)
    again = night.record(step("a", task="Think."), run="r2")
    assert night.execute(again) == "done"
    assert night.result(again)["cached"]


def test_a_run_that_is_retried_waits_for_the_row_that_is_under_way_already(night):
    header = night.record(step("a", task="Think."))
    night.execute(header)
    night.tick(after=61)
    night.engine.store.stop(header.run, "cancelled")
    night.engine.store.finish(header.run, 1)
    night.engine.store.reopen(header.run)
    again = night.engine.store.header(header.run, 2)

    assert night.execute(again) == "in batch msgbatch_1"
    night.provider.end()
    night.tick(after=31)
    night.execute(again)

    assert night.result(again)["status"] == "succeeded"
    assert sum(night.provider.paid.values()) == 1
    assert night.document(again)["lost_calls"] == 0


def test_a_refusal_fails_the_step_and_costs_half_as_well(night):
    header = night.record(step("a", task="Think."))
    night.execute(header)
    night.provider.fate = lambda _asked, _times: "refused"
    night.until_landed()

    with pytest.raises(RefusedError):
        night.execute(header)

    assert night.result(header)["estimated_cost"] == pytest.approx(HAIKU_BATCH)


def test_a_row_that_the_provider_rejects_fails_its_step_without_quoting_it(night):
    task = "A task that is long enough to be recognised where it is quoted."
    header = night.record(step("a", task=task))
    night.execute(header)
    night.provider.fate = lambda _asked, _times: "invalid"
    night.until_landed()

    with pytest.raises(CallRejectedError) as caught:
        night.execute(header)

    assert task not in str(caught.value.args)
    assert night.result(header)["estimated_cost"] == 0.0


def test_a_failed_step_that_is_retried_asks_anew(night):
    header = night.record(step("a", task="Think."))
    night.execute(header)
    night.provider.fate = lambda _asked, times: "invalid" if times == 1 else "succeeded"
    night.until_landed()
    with pytest.raises(CallRejectedError):
        night.execute(header)
    night.engine.store.finish(header.run, 1)
    night.engine.store.reopen(header.run)
    again = night.engine.store.header(header.run, 2)

    night.execute(again)
    night.until_landed()

    assert night.execute(again) == "done"
    assert night.result(again)["status"] == "succeeded"


def test_a_row_that_keeps_expiring_is_asked_through_the_ordinary_api(night):
    header = night.record(step("a", task="Think."))
    night.execute(header)
    night.provider.fate = lambda _asked, _times: "expired"
    for _ in range(night.policy.max_sends):
        night.until_landed()

    assert night.execute(header) == "done"
    assert night.result(header)["output"] == "a says hello"
    assert len(night.worker.model.asked) == 1


def test_a_row_still_waiting_when_the_deadline_nears_is_asked_at_once(night):
    header = night.record(step("a", task="Think."), timeout_seconds=SOON)
    assert night.execute(header) == "waiting for a message batch"
    night.lane._courier.policy = replace(night.policy, linger_seconds=LATE)

    assert night.tick(after=500) == []
    assert night.tick(after=31) == ["a"], "sixty seconds and one attempt before the deadline"
    assert night.execute(header) == "done"
    assert night.result(header)["output"] == "a says hello"
    assert night.provider.batches == {}


def test_a_batch_is_ended_early_when_a_deadline_nears_and_its_row_asked_at_once(night):
    header = night.record(step("a", task="Think."), timeout_seconds=SOON)
    night.execute(header)
    night.tick(after=61)
    night.tick(after=480)
    assert night.provider.calls["cancel"] == 1
    night.provider.end()
    night.tick(after=31)

    assert night.execute(header) == "done"
    assert night.result(header)["output"] == "a says hello"
    assert sum(night.provider.paid.values()) == 0


@pytest.mark.parametrize(
    ("lane", "timeout_seconds", "waits"),
    [
        ("batch", None, True),
        ("batch", SOON, True),
        ("batch", 60.0, False),
        ("auto", None, False),
        ("auto", SOON, False),
        ("auto", LATE, True),
        ("background", None, False),
        ("interactive", LATE, False),
    ],
)
def test_the_lane_and_the_slack_before_the_deadline_decide(night, lane, timeout_seconds, waits):
    header = night.record(step("a", task="Think."), lane=lane, timeout_seconds=timeout_seconds)

    said = night.execute(header)

    assert said == ("waiting for a message batch" if waits else "done")


@pytest.mark.parametrize(("more", "said"), [(-1, "done"), (1, "waiting for a message batch")])
def test_the_slack_is_what_the_longest_path_leaves(night, more, said):
    """Ten seconds a step, three hundred steps; the short branch beside them does not count."""
    chain = [step("s0"), *(step(f"s{n}", f"s{n - 1}") for n in range(1, 300)), step("beside", "s0")]
    needed = 300 * 10 + night.policy.rescue_margin_seconds + night.policy.auto_slack_seconds
    header = night.record(*chain, lane="auto", timeout_seconds=needed + more)

    assert night.execute(header, "s0") == said


def test_a_lane_that_is_switched_off_asks_at_once_but_still_fetches_what_is_under_way(night):
    header = night.record(step("a", task="Think."), step("b", task="Think again."))
    night.execute(header, "a")
    night.tick(after=61)
    off = replace(night.policy, enabled=False)
    night.lane.policy = off

    assert night.execute(header, "b") == "done"
    night.provider.end()
    night.tick(after=31)
    assert night.execute(header, "a") == "done"
    assert night.result(header, "a")["output"] == "the batch says hello"


def test_an_execution_of_the_batch_lane_waits_as_a_step_does(night):
    def deliver():
        with night.worker.delivery(run_agent, "greeter", "Say hello.", id="e1", kwargs={"lane": "batch"}):
            return run_agent.run("greeter", "Say hello.", lane="batch")

    with pytest.raises(Retry):
        deliver()
    night.until_landed()

    assert night.tick() == ["cf_workers.run_agent"]
    document = deliver()
    assert document["output"] == "the batch says hello"
    assert document["metadata"]["estimated_cost"] == pytest.approx(HAIKU_BATCH)


def test_a_message_that_comes_twice_changes_nothing(night):
    header = night.record(step("a", task="Think."))
    night.execute(header)
    night.execute(header)
    night.until_landed()
    night.execute(header)
    night.execute(header)

    assert sum(night.provider.paid.values()) == 1
    assert night.document(header)["estimated_cost"] == pytest.approx(HAIKU_BATCH)


def test_the_row_of_a_worker_that_died_before_its_commit_is_not_asked_again(night):
    header = night.record(step("a", task="Think."))
    night.execute(header)
    night.until_landed()
    claim = night.engine.claim(header, "a", worker="w0")
    asked = header.plan.by_id["a"]

    asking.ask(night.worker.runtime, header, asked, claim, CancelToken())  # and there it dies
    night.time.advance(20)
    night.worker.heartbeat.beat()
    night.time.advance(10)
    night.worker.heartbeat.beat()

    assert night.execute(header) == "done"
    assert sum(night.provider.paid.values()) == 1
    assert night.result(header)["status"] == "succeeded"


def budgeted(night, nanos, *, on_exhausted="park", **more):
    limit = Limit("day", nanos, "day", on_exhausted)
    return night.record(step("a", task="Think.", **more), options={"budgets": [limit.as_json()]})


def day_of(night):
    (status,) = night.budgets.statuses()
    return status


def test_money_is_put_aside_while_a_row_waits_and_what_it_cost_is_spent(night):
    header = budgeted(night, 1_000_000_000)
    night.execute(header)
    assert day_of(night).reserved > HAIKU_BATCH * 1e9
    assert day_of(night).spent == 0

    night.execute(header)
    night.until_landed()
    night.execute(header)

    assert (day_of(night).reserved, day_of(night).spent) == (0, round(HAIKU_BATCH * 1e9))


def test_rows_whose_requests_are_too_large_for_one_batch_go_out_in_two(worker, monkeypatch):
    night = Night(worker, ServerTime(monkeypatch), max_bytes=20_000)
    monkeypatch.setattr(runtime, "_factory", lambda: worker.runtime)
    monkeypatch.setattr(runtime, "_current", None)
    header = night.record(step("a", task="a" * 12_000), step("b", task="b" * 12_000))
    for one in ("a", "b"):
        night.execute(header, one)

    night.tick(after=61)

    assert [len(batch.requests) for batch in night.provider.batches.values()] == [1, 1]


def test_a_step_without_money_waits_and_goes_into_no_batch(night):
    header = budgeted(night, 1)

    said = night.execute(header)
    night.tick(after=61)

    assert "the budget day" in said
    assert "cf-workers budget set day" in said
    assert night.provider.batches == {}
    night.engine.store.unpark(night.budgets.set("day", 10**9))
    assert night.execute(header) == "waiting for a message batch"


def test_a_step_waits_for_money_that_others_have_put_aside_and_is_told_so(night):
    header = budgeted(night, 1_000_000_000)
    limit = Limit("day", 1_000_000_000, "day", "park")
    aside = night.budgets.reserve([limit], 999_999_999)

    said = night.execute(header)

    assert said == "calls in flight have reserved what is left of a budget"
    night.engine.store.unpark(night.budgets.settle(aside, 0))
    assert night.execute(header) == "waiting for a message batch"


def test_a_step_without_money_fails_where_its_budget_says_so(night):
    header = budgeted(night, 1, on_exhausted="fail")

    with pytest.raises(BudgetError, match="the budget day"):
        night.execute(header)

    assert night.provider.batches == {}


def test_a_call_too_dear_for_its_budget_waits_for_a_batch_where_its_budget_says_so(night):
    runtime_ = night.worker.runtime
    inner = runtime_.answering
    inner._inner = Budgeted(inner._inner, night.budgets, wake=night.engine.store.unpark)
    one = step("a", task="Think.")
    header = night.record(one, run="r0", lane="interactive")
    planned = header.plan.by_id["a"]
    most = most_nanos(asking.call_of(runtime_.agents.get(planned.definition), header, planned, ()))
    limit = Limit("day", most - 1, per="day", on_exhausted="batch")

    header = night.record(one, lane="interactive", options={"budgets": [limit.as_json()]})

    assert night.execute(header) == "waiting for a message batch"
    night.until_landed()
    assert night.execute(header) == "done"
    assert night.result(header)["estimated_cost"] == pytest.approx(HAIKU_BATCH)
    (status,) = night.budgets.statuses()
    assert status.reserved == 0


def test_what_is_too_dear_even_in_a_batch_waits_for_money(night):
    inner = night.worker.runtime.answering
    inner._inner = Budgeted(inner._inner, night.budgets, wake=night.engine.store.unpark)
    limit = Limit("day", 1, per="day", on_exhausted="batch")

    header = night.record(
        step("a", task="Think."), lane="interactive", options={"budgets": [limit.as_json()]}
    )

    assert "the budget day" in night.execute(header)
    assert night.provider.batches == {}


def test_no_budget_can_hold_for_a_model_whose_price_nobody_knows(night):
    header = budgeted(night, 10**9, model="my-own-model")

    with pytest.raises(BudgetError, match="my-own-model"):
        night.execute(header)


@pytest.mark.parametrize("submitted", [False, True])
def test_what_was_put_aside_for_a_cancelled_run_is_free_again_or_spent(night, submitted):
    header = budgeted(night, 10**9)
    night.execute(header)
    if submitted:
        night.tick(after=61)
    night.engine.store.stop(header.run, "cancelled")
    night.until_landed()

    spent = round(HAIKU_BATCH * 1e9) if submitted else 0
    assert (day_of(night).reserved, day_of(night).spent) == (0, spent)


def test_money_of_a_row_that_came_to_nothing_is_put_aside_anew_for_the_ordinary_call(night):
    header = budgeted(night, 10**9)
    night.execute(header)
    night.provider.fate = lambda _asked, _times: "expired"
    for _ in range(night.policy.max_sends):
        night.until_landed()
    night.execute(header)

    assert day_of(night).reserved == 0


def test_polls_are_published_by_the_tick_alone_and_not_twice(night):
    night.execute(night.record(step("a", task="Think.")))
    assert not night.lane.remind()
    night.time.advance(61)

    assert night.lane.remind()
    assert not night.lane.remind(), "one is on its way"
    night.time.advance(11)
    assert night.lane.remind(), "it was lost"


def test_a_poll_does_what_is_due_and_says_how_many_rows_went_where(night):
    night.execute(night.record(step("a", task="Think.")))

    assert poll_batches.run() == {}
    night.time.advance(61)
    assert poll_batches.run() == {"submitted": 1}


def test_a_poll_does_nothing_while_another_is_under_way(night):
    night.execute(night.record(step("a", task="Think.")))
    night.time.advance(61)
    PackTable(night.engine.client, night.engine.keys).hold("another", lease_seconds=8, take=True)

    assert poll_batches.run() == {}
    assert night.provider.batches == {}
