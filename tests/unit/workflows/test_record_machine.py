"""Whatever two workers do in whatever order: effects happen once, and the counters are right."""

import json
from uuid import uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)

from cf_workers._redis import Keys
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.outcome import Outcome
from cf_workers.workflows.record import NewRun, RunStore
from tests.support.engine import diamond, fake_client, plan, step
from tests.support.keys import assert_nothing_leaked

FINAL = {"succeeded", "failed", "skipped", "cancelled"}
ENDED = {"skip": "skipped", "cancel": "cancelled", "lost": "failed"}
PLANS = (
    plan("a"),
    plan("a", "b", "c"),
    plan("a", step("b", "a"), step("c", "b")),
    diamond(),
    diamond(rule="all_done"),
    plan("a", "b", step("c", "a", "b"), step("d", "b", "c", rule="all_done")),
)
workers = st.sampled_from(["w1", "w2"])


class TwoWorkers(RuleBasedStateMachine):
    """One run, two workers, any order of claims, commits, retries, deaths, stops and new attempts."""

    claims = Bundle("claims")

    @initialize(chosen=st.sampled_from(PLANS))
    def begin(self, chosen):
        self.client, self.keys = fake_client(), Keys()
        definitions = Definitions(self.client, self.keys)
        self.store = RunStore(self.client, self.keys, definitions)
        definitions.pin("run", {chosen.digest: chosen.text}, 1000)
        self.store.start(NewRun(run="run", kind="workflow", plan=chosen))
        self.header = self.first = self.store.header("run", 1)
        self.ends = {one.id: [] for one in chosen.steps}
        self.fence = 0
        self.over = False

    def steps(self):
        return {id: json.loads(raw) for id, raw in self.client.hgetall(self.keys.run("run").steps).items()}

    def number(self, name):
        return int(self.client.hget(self.keys.run("run").run, name) or 0)

    def may_run(self, id):
        """By the rules, told again without Lua: whether the step's dependencies let it run."""
        one = self.header.plan.by_id[id]
        ended = [self.steps().get(dependency, {}).get("s") for dependency in one.dependencies]
        return all(s == "succeeded" if one.rule == "all_succeeded" else s in FINAL for s in ended)

    def take(self, id, worker, *, may_take_over):
        claim = self.store.claim(self.header, self.header.plan.by_id[id], worker, may_take_over=may_take_over)
        if claim.verdict in {"run", "skip", "cancel", "lost"}:
            assert claim.fence > self.fence, "fences grow"
            self.fence = claim.fence
            assert not self.ends[id], "a step that has ended is never taken on again"
            assert claim.verdict != "run" or self.may_run(id)
        return claim

    @rule(target=claims, data=st.data(), worker=workers, may_take_over=st.booleans())
    def claim(self, data, worker, may_take_over):
        return self.take(data.draw(st.sampled_from(sorted(self.ends))), worker, may_take_over=may_take_over)

    @rule(target=claims, data=st.data(), worker=workers)
    def claim_and_not_hear_of_it(self, data, worker):
        one = self.header.plan.by_id[data.draw(st.sampled_from(sorted(self.ends)))]
        nonce = uuid4().hex
        first = self.store.claim(self.header, one, worker, may_take_over=True, nonce=nonce)
        before = self.steps()

        second = self.store.claim(self.header, one, worker, may_take_over=True, nonce=nonce)

        assert first == second
        assert self.steps() == before
        self.fence = max(self.fence, first.fence)
        return second

    @rule(claim=claims, works=st.booleans())
    def commit(self, claim, works):
        status = ENDED.get(claim.verdict, "succeeded" if works else "failed")
        outcome = Outcome(status, claim.attempts + 1, {}, "out", counts_against_run=status == "failed")
        current = self.steps().get(claim.step, {})
        newest = current.get("s") == "running" and current.get("f") == claim.fence
        again = current.get("s") == status and current.get("f") == claim.fence

        committed = self.store.commit(claim, outcome)

        assert (committed is not None) == ((newest or again) and claim.fence > 0)
        if committed is not None:
            self.ends[claim.step] += [status] if newest else []
            assert (committed.left, committed.running) == (self.number("left"), self.number("running"))

    @rule(claim=consumes(claims))
    def defer(self, claim):
        current = self.steps().get(claim.step, {})
        newest = current.get("s") in {"running", "retrying"} and current.get("f") == claim.fence

        assert self.store.defer(claim, attempts=claim.attempts, countdown=0, reason="x") == newest

    @rule(claim=consumes(claims))
    def park(self, claim):
        current = self.steps().get(claim.step, {})
        newest = current.get("s") in {"running", "parked"} and current.get("f") == claim.fence

        assert self.store.park(claim, countdown=0, reason="x") == newest

    @precondition(lambda self: self.header.attempt > 1)
    @rule(data=st.data(), worker=workers)
    def deliver_a_message_of_the_first_attempt(self, data, worker):
        one = self.header.plan.by_id[data.draw(st.sampled_from(sorted(self.ends)))]

        assert self.store.claim(self.first, one, worker, may_take_over=True).verdict == "stale"

    @rule(claim=claims)
    def die(self, claim):
        """Nobody renews the claim any more."""
        self.client.zadd(self.keys.claims, {claim.member: 1}, xx=True)

    @rule(reason=st.sampled_from(["cancelled", "timeout"]))
    def stop(self, reason):
        self.store.stop("run", reason)

    @rule()
    def finish(self):
        left, running = self.number("left"), self.number("running")
        stopping = self.client.hget(self.keys.run("run").run, "stopping")

        verdict, status = self.store.finish("run", self.header.attempt)

        if not self.over:
            may_end = left == 0 or (stopping and running == 0)
            assert (verdict == "ended") == bool(may_end)
        if verdict == "ended":
            assert (status == "succeeded") == (not stopping and not self.failed())
            self.over = True

    def failed(self):
        return any("failed" in ends for ends in self.ends.values())

    @precondition(lambda self: self.over)
    @rule()
    def reopen(self):
        status = self.client.hget(self.keys.run("run").run, "status")
        if status == "succeeded":
            return
        kept = {id for id, ends in self.ends.items() if ends == ["succeeded"]}

        self.header = self.store.header("run", self.store.reopen("run"))

        assert self.header.kept == kept
        self.ends = {id: ends if id in kept else [] for id, ends in self.ends.items()}
        self.over = False

    @invariant()
    def no_step_ended_twice(self):
        assert all(len(ends) <= 1 for ends in self.ends.values())

    @invariant()
    def the_counters_agree_with_the_steps(self):
        steps = self.steps()
        assert self.number("left") == sum(not ends for ends in self.ends.values())
        assert self.number("running") == sum(one["s"] == "running" for one in steps.values())
        assert self.number("parked") == sum(one["s"] == "parked" for one in steps.values())
        assert self.number("failed") == sum("failed" in ends for ends in self.ends.values())

    @invariant()
    def exactly_the_running_steps_are_claimed_and_the_retrying_ones_due(self):
        steps = self.steps()
        claimed = {f"run\t{id}\t{one['f']}" for id, one in steps.items() if one["s"] == "running"}
        due = {f"run\t{id}" for id, one in steps.items() if one["s"] == "retrying"}
        assert set(self.client.zrange(self.keys.claims, 0, -1)) == claimed
        parked = {f"run\t{id}" for id, one in steps.items() if one["s"] == "parked"}
        assert self.over or parked <= set(self.client.zrange(self.keys.parked, 0, -1))
        assert self.over or due <= set(self.client.zrange(self.keys.due, 0, -1))

    @invariant()
    def the_order_names_each_step_that_ended_once(self):
        order = self.client.lrange(self.keys.run("run").order, 0, -1)
        assert sorted(order) == sorted(id for id, ends in self.ends.items() if ends)

    def teardown(self):
        """The workers that are left bring the run to its end, whatever came before."""
        if not hasattr(self, "header"):
            return
        for member in self.client.zrange(self.keys.claims, 0, -1):
            self.client.zadd(self.keys.claims, {member: 1})
        if not self.over:
            for id in self.header.plan.graph.order:
                if not self.ends[id]:
                    claim = self.take(id, "w3", may_take_over=True)
                    status = ENDED.get(claim.verdict, "succeeded")
                    assert self.store.commit(claim, Outcome(status, 1, {})) is not None
                    self.ends[id].append(status)
            assert self.store.finish("run", self.header.attempt)[0] == "ended"
        assert_nothing_leaked(self.client, None)
        self.client.close()


TestTwoWorkers = TwoWorkers.TestCase
TestTwoWorkers.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
