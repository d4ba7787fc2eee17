"""A plan pins what a run executes, and says what is left of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cf_workers.workflows.plan import FINISH, Plan, RunHeader, predecessors
from tests.support.engine import diamond, plan, step


@st.composite
def plans_and_kept(draw):
    """A plan, and steps of it that may have succeeded: each with all that it waits for."""
    size = draw(st.integers(0, 7))
    steps = [step(f"s{i}", *(f"s{j}" for j in range(i) if draw(st.booleans()))) for i in range(size)]
    kept: set[str] = set()
    for one in steps:
        if kept.issuperset(one.dependencies) and draw(st.booleans()):
            kept.add(one.id)
    return plan(*steps), kept


def test_equal_plans_have_equal_digests():
    assert diamond().digest == diamond().digest
    assert diamond().digest != diamond(rule="all_done").digest
    assert plan("a").digest != plan("a", name="other").digest


@given(plans_and_kept())
def test_a_plan_comes_back_from_its_text_as_it_was(drawn):
    whole, _ = drawn

    assert Plan.model_validate_json(whole.text) == whole


def test_the_text_of_a_plan_leaves_out_what_nobody_said():
    assert '"rule"' not in plan("a").text


def test_a_plan_of_a_later_release_with_unknown_fields_is_refused():
    with pytest.raises(ValidationError, match="surprise"):
        Plan.model_validate({"workflow": "w", "steps": [], "surprise": 1})


def test_what_is_left_of_a_fresh_run_is_everything_closed_by_the_finish():
    pending = diamond().pending(())

    assert pending.order == ("start", "left", "right", "end", FINISH)
    assert pending.dependencies(FINISH) == ("end",)


def test_the_finish_waits_for_every_last_step():
    assert plan("a", "b", step("c", "a")).pending(()).dependencies(FINISH) == ("b", "c")


def test_steps_wait_no_longer_for_what_was_kept():
    pending = diamond().pending({"start", "left"})

    assert pending.roots == ("right",)
    assert pending.dependencies("end") == ("right",)


def test_a_run_with_nothing_left_consists_of_its_finish():
    assert plan("a").pending({"a"}).roots == (FINISH,)
    assert plan().pending(()).roots == (FINISH,)


@given(plans_and_kept())
def test_what_is_left_and_what_is_kept_are_the_whole_plan(drawn):
    whole, kept = drawn
    pending = whole.pending(kept)

    assert set(pending) == {one.id for one in whole.steps} - kept | {FINISH}
    assert pending.order[-1] == FINISH
    for one in whole.steps:
        if one.id not in kept:
            assert set(pending.dependencies(one.id)) == set(one.dependencies) - kept


def test_order_alone_counts_like_a_dependency_but_hands_nothing_on():
    one = step("c", "a", after=("b", "a"))

    assert predecessors(one) == ("a", "b")
    assert one.dependencies == ("a",)
    assert plan("a", "b", one).graph.dependencies("c") == ("a", "b")


def test_a_plan_names_each_definition_once():
    of = plan(step("a", definition="x"), step("b", definition="x"), step("c", definition="y"))

    assert of.definitions == {"x", "y"}


def test_a_header_of_the_first_attempt_keeps_nothing():
    header = RunHeader.of_first_attempt("r", diamond())

    assert header.key == ("r", 1)
    assert header.pending.roots == ("start",)


@pytest.mark.parametrize(
    ("lane", "queue"),
    [("interactive", "interactive"), ("auto", "interactive"), ("background", "batch"), ("batch", "batch")],
)
def test_what_may_wait_comes_by_the_queue_that_lets_others_pass(lane, queue):
    assert step("a", lane=lane).queue == queue


def test_a_step_s_tail_is_the_longest_path_from_its_beginning_to_the_end():
    seconds = {"a": 1, "short": 2, "long": 10, "end": 100}
    drawn = plan("a", step("short", "a"), step("long", "a"), step("end", "short", "long"))
    timed = [one.model_copy(update={"timeout_seconds": seconds[one.id]}) for one in drawn.steps]
    whole = plan(*timed)

    assert whole.tails == {"a": 111, "short": 102, "long": 110, "end": 100}
