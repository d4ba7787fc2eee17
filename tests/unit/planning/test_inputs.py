"""A task and inputs that cannot be used are refused, and the hint says how they can be."""

import pytest

from cf_workers.errors import InputError, TaskTooLongError
from cf_workers.planning import check_task, resolve_inputs
from cf_workers.workflows.spec import StepSpec, WorkflowSpec


def workflow(*steps, **rest):
    return WorkflowSpec("review", tuple(steps), **rest)


def test_inputs_are_the_given_ones_and_the_defaults_of_the_others():
    spec = workflow(inputs=(("path", "src/"), ("language", None)))

    assert resolve_inputs(spec, {"language": "de"}) == {"path": "src/", "language": "de"}
    assert resolve_inputs(spec, {"language": "de", "path": "docs/"})["path"] == "docs/"


def test_a_missing_input_is_named_with_all_that_are_missing():
    spec = workflow(
        StepSpec("1", "a", task="{{ inputs.b }} {{ inputs.a }}"), inputs=(("a", None), ("b", None))
    )

    with pytest.raises(InputError, match="needs the input 'a'") as caught:
        resolve_inputs(spec, {})

    assert caught.value.hint == "--input a=… --input b=…"


def test_an_input_that_no_step_uses_need_not_be_given():
    assert resolve_inputs(workflow(inputs=(("unused", None),)), {}) == {}


@pytest.mark.parametrize(("declared", "known"), [((), "none"), ((("path", ""),), "path")])
def test_an_unknown_input_is_refused_with_the_known_ones(declared, known):
    with pytest.raises(InputError, match="no input 'pth'") as caught:
        resolve_inputs(workflow(inputs=declared), {"pth": "x"})

    assert caught.value.hint == f"its inputs are: {known}"


def test_a_task_may_be_as_long_as_the_limit():
    check_task("x" * 10, 10)
    check_task(None, 10)
    with pytest.raises(TaskTooLongError, match="11 characters; the limit is 10") as caught:
        check_task("x" * 11, 10)
    assert (caught.value.details["length"], caught.value.details["limit"]) == (11, 10)
