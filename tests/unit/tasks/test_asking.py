"""What a step asks of its agent, and what is kept of the answer or the failure."""

import pytest

from cf_workers.agents.definition import AgentDefinition, AgentReply, DependencyOutput, Usage
from cf_workers.agents.prices import cost_usd
from cf_workers.answers import Answer, succeeded
from cf_workers.errors import (
    CallRejectedError,
    CallTimeoutError,
    CancelledError,
    DefinitionMissingError,
    OverloadedError,
    RefusedError,
    StreamCutError,
)
from cf_workers.tasks import asking
from cf_workers.workflows.plan import RunHeader
from tests.support.engine import plan, step

MODEL = "claude-haiku-4-5"
USAGE = Usage(input_tokens=1000, output_tokens=500, cache_read_input_tokens=100)


def header(*steps, **rest):
    return RunHeader("r1", 1, plan(*steps), **rest)


@pytest.mark.parametrize(
    ("own", "of_run", "text"),
    [
        ("Review.", None, "Review."),
        (None, "src/", "src/"),
        ("Review.", "src/", "Review.\n\nsrc/"),
        (None, None, ""),
        ("Review {{ inputs.path }}.", None, "Review docs/."),
    ],
)
def test_a_step_is_given_its_own_task_with_inputs_and_that_of_the_run(own, of_run, text):
    one = step("a", task=own)

    assert asking.task_text(header(one, task=of_run, inputs={"path": "docs/"}), one) == text


def test_braces_in_the_runs_task_are_not_inputs():
    one = step("a")

    assert asking.task_text(header(one, task="{{ inputs.x }}"), one) == "{{ inputs.x }}"


def test_a_call_carries_all_that_shapes_the_answer():
    definition = AgentDefinition(name="a", text="# a")
    outputs = [DependencyOutput("s", "b", "text")]

    call = asking.call_for(definition, step("a", model=MODEL, max_tokens=7), task="T", outputs=outputs)

    assert (call.agent, call.task, call.model, call.max_tokens) == (definition, "T", MODEL, 7)
    assert (call.timeout_seconds, call.outputs) == (10, tuple(outputs))


def test_an_answer_is_kept_with_its_usage_and_price():
    reply = AgentReply("text", MODEL, USAGE, "max_tokens", request_id="req_1")

    outcome = succeeded(Answer(reply, 1.23456), step("a"), attempts=2)

    cost = cost_usd(MODEL, USAGE)
    assert (outcome.status, outcome.attempts, outcome.output) == ("succeeded", 2, "text")
    assert (outcome.input_tokens, outcome.output_tokens) == (1100, 500)
    assert outcome.cost_nanos == int(cost * 10**9) > 0
    assert outcome.result["estimated_cost"] == float(cost)
    assert outcome.result["truncated"] is True
    assert outcome.result["execution_time_ms"] == 1234.6
    assert outcome.result["usage"] == USAGE.model_dump()
    assert not outcome.counts_against_run


def test_a_price_that_is_not_known_is_none_and_never_nothing():
    reply = AgentReply("text", "model-of-tomorrow", USAGE, "end_turn")

    outcome = succeeded(Answer(reply, 0), step("a"), attempts=1)

    assert outcome.cost_nanos is None
    assert outcome.result["estimated_cost"] is None


def test_a_failure_counts_against_the_run_unless_it_is_allowed():
    error = CallRejectedError("no", {"status": 400})

    assert asking.failed(error, step("a"), attempts=1).counts_against_run
    assert not asking.failed(error, step("a", allow_failure=True), attempts=1).counts_against_run


def test_a_failure_that_was_not_billed_costs_nothing():
    outcome = asking.failed(CallRejectedError("no"), step("a"), attempts=1)

    assert (outcome.status, outcome.cost_nanos, outcome.input_tokens, outcome.lost_calls) == (
        "failed",
        0,
        0,
        0,
    )
    assert outcome.result["estimated_cost"] == 0.0
    assert outcome.result["error"] == {"type": "CallRejectedError", "message": "no"}


def test_a_failure_that_was_billed_keeps_what_it_cost():
    error = RefusedError("refused", {"usage": USAGE.model_dump()})

    outcome = asking.failed(error, step("a", model=MODEL), attempts=1)

    cost = cost_usd(MODEL, USAGE)
    assert (outcome.input_tokens, outcome.output_tokens) == (1100, 500)
    assert outcome.cost_nanos == int(cost * 10**9)
    assert outcome.result["estimated_cost"] == float(cost)


def test_a_billed_failure_of_a_model_without_a_price_makes_the_cost_unknown():
    error = RefusedError("refused", {"usage": USAGE.model_dump()})

    outcome = asking.failed(error, step("a", model="model-of-tomorrow"), attempts=1)

    assert outcome.cost_nanos is None
    assert outcome.result["estimated_cost"] is None


@pytest.mark.parametrize("allowed", [False, True])
def test_a_step_that_was_cancelled_by_itself_counts_like_a_failed_one(allowed):
    outcome = asking.failed(CancelledError("revoked"), step("a", allow_failure=allowed), attempts=1)

    assert (outcome.status, outcome.lost_calls) == ("cancelled", 1)
    assert outcome.counts_against_run == (not allowed)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (CallTimeoutError("x"), 1),
        (StreamCutError("x"), 1),
        (CancelledError("x"), 1),
        (OverloadedError("x"), 0),
        (CallRejectedError("x"), 0),
        (DefinitionMissingError("x"), 0),
    ],
)
def test_calls_that_may_have_been_paid_for_nothing_are_counted(error, lost):
    assert asking.maybe_lost(error) == lost


@pytest.mark.parametrize(("verdict", "status"), [("skip", "skipped"), ("cancel", "cancelled")])
def test_a_step_that_was_never_asked_costs_nothing_and_says_why(verdict, status):
    outcome = asking.not_run(verdict, step("a"), "because", attempts=0)

    assert (outcome.status, outcome.cost_nanos, outcome.counts_against_run) == (status, 0, False)
    assert outcome.result["error"] == {"type": verdict, "message": "because"}
