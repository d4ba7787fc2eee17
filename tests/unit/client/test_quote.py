"""A quote comes from executions on record where there are enough, and from sizes where there are not."""

import pytest

from cf_workers.agents.definition import AgentDefinition
from cf_workers.client.quote import ENOUGH_SAMPLES, Quoter, Span
from cf_workers.planning import Planned
from cf_workers.workflows.accounts import DayRow, Sample
from cf_workers.workflows.plan import Plan
from tests.support.engine import step

MODEL = "claude-haiku-4-5"


def planned(*steps):
    definitions = {one.agent: AgentDefinition(name=one.agent, text="x" * 10_000) for one in steps}
    pinned = tuple(
        one.model_copy(update={"definition": definitions[one.agent].digest, "model": one.model})
        for one in steps
    )
    texts = {each.digest: each.model_dump_json() for each in definitions.values()}
    return Planned(Plan(workflow="review", steps=pinned), texts)


def history(*costs, seconds=2.0, tokens=100):
    return [Sample(1000, tokens, seconds, cost) for cost in costs]


class Past:
    """What is on record, and what the cache knows."""

    def __init__(self, samples=(), rows=(), known=()):
        self.by_agent = dict(samples)
        self.rows = rows
        self.known = set(known)
        self.looked_up = []

    def quote(self, plan, task="the task", inputs=None, **rest):
        quoter = Quoter(
            samples=lambda agent, model: self.by_agent.get(agent, []),
            day=lambda date: self.rows,
            known=self._is_known,
        )
        return quoter.quote(plan, task=task, inputs=inputs or {}, **rest)

    def _is_known(self, step, call):
        self.looked_up.append((step.id, call.task))
        return None if step.cacheable is False else step.id in self.known


def test_with_enough_executions_on_record_low_likely_and_high_are_their_percentiles():
    past = Past({"a": history(*range(1000, 11_000, 1000))})

    (quoted,) = past.quote(planned(step("a"))).steps

    assert (quoted.basis, quoted.samples) == ("history", 10)
    assert quoted.nanos == Span(2000, 6000, 10_000)
    assert quoted.seconds == Span(2.0, 2.0, 2.0)


def test_with_too_few_of_them_the_size_decides():
    past = Past({"a": history(*[1000] * (ENOUGH_SAMPLES - 1))})

    (quoted,) = past.quote(planned(step("a", max_tokens=1000))).steps

    assert quoted.basis == "estimate"
    assert quoted.output_tokens == Span(50, 250, 1000)
    low, likely, high = quoted.nanos.low, quoted.nanos.likely, quoted.nanos.high
    assert 2000 * 1000 + 50 * 5000 < low < likely < high
    assert 2500 * 1000 + 250 * 5000 < likely < 3500 * 1000 + 250 * 5000
    assert high > 1000 * 5000 + 10_000 / 3 * 1250


def test_batches_teach_nothing_about_single_calls():
    half = [Sample(1000, 100, 3600.0, 1, batch=True)] * 20

    assert Past({"a": half}).quote(planned(step("a"))).steps[0].basis == "estimate"


def test_in_the_batch_lane_a_step_costs_half_and_may_take_a_day():
    """At worst it is asked through the ordinary API in the end."""
    past = Past({"a": history(*range(1000, 11_000, 1000))})

    (quoted,) = past.quote(planned(step("a", lane="batch"))).steps

    assert quoted.nanos == Span(1000, 3000, 10_000)
    assert (quoted.seconds.likely, quoted.seconds.high) == (3600, 86_402)


def test_outputs_of_earlier_steps_make_the_prompts_of_later_ones_longer():
    alone = Past().quote(planned(step("a"), step("b"))).steps[1]
    after = Past().quote(planned(step("a"), step("b", "a"))).steps[1]
    told_nothing = Past().quote(planned(step("a"), step("b", "a", passes=False))).steps[1]

    assert after.nanos.likely > alone.nanos.likely == told_nothing.nanos.likely


def test_a_run_costs_the_sum_of_its_steps_and_takes_as_long_as_its_critical_path():
    past = Past(
        {
            "a": history(*[1000] * 5, seconds=1),
            "b": history(*[2000] * 5, seconds=5),
            "c": history(*[3000] * 5, seconds=2),
        }
    )

    quote = past.quote(planned(step("a"), step("b"), step("c", "a", "b")))

    assert quote.nanos == Span(6000, 6000, 6000)
    assert quote.seconds == Span(7, 7, 7)
    assert quote.critical_path == ("b", "c")


def test_a_root_step_whose_answer_is_in_the_cache_costs_and_takes_nothing():
    past = Past({"a": history(*[1000] * 5), "b": history(*[2000] * 5)}, known=["a"])

    quote = past.quote(planned(step("a", task="Lint."), step("b", "a")))

    assert past.looked_up == [("a", "Lint.\n\nthe task")]
    assert (quote.steps[0].hit, quote.steps[0].hit_known) == (1, True)
    assert quote.nanos == Span(2000, 2000, 2000)
    assert quote.expected_hits == 1


def test_for_a_step_that_sees_outputs_the_share_of_hits_of_late_is_expected():
    rows = [DayRow("review", "b", MODEL, {"executions": 4, "cached": 1})]
    past = Past({"b": history(*[2000] * 5)}, rows=[*rows, DayRow("other", "b", MODEL, {"executions": 9})])

    quoted = past.quote(planned(step("a"), step("b", "a"))).steps[1]

    assert (quoted.hit, quoted.hit_known) == (0.25, False)
    assert quoted.nanos == Span(1500, 1500, 2000)


def test_an_answer_that_is_never_kept_is_never_expected_from_the_cache():
    rows = [DayRow("review", "b", MODEL, {"executions": 4, "cached": 4})]

    quoted = Past(rows=rows).quote(planned(step("a"), step("b", "a", cacheable=False))).steps[1]

    assert (quoted.hit, quoted.hit_known) == (0, True)


@pytest.mark.parametrize(("inputs", "certain"), [({"path": "src"}, True), ({}, False)])
def test_what_is_not_known_of_the_prompt_yet_is_not_looked_up(inputs, certain):
    past = Past()

    (quoted,) = past.quote(planned(step("a", task="Lint {{ inputs.path }}.")), inputs=inputs).steps

    assert quoted.hit_known is certain
    assert bool(past.looked_up) is certain


def test_without_the_task_that_all_steps_get_nothing_is_looked_up():
    past = Past()

    past.quote(planned(step("a")), task=None, task_needed=True)

    assert past.looked_up == []


def test_one_unknown_price_makes_the_whole_unknown():
    quote = Past().quote(planned(step("a"), step("b", model="my-own-model")))

    assert quote.steps[0].nanos is not None
    assert quote.steps[1].nanos is None
    assert quote.nanos is None


def test_a_plan_without_steps_costs_nothing():
    quote = Past().quote(planned())

    assert (quote.nanos, quote.seconds, quote.critical_path) == (Span(0, 0, 0), Span(0, 0, 0), ())
