"""Inputs stand in tasks as `{{ inputs.NAME }}`."""

import pytest

from cf_workers.workflows.inputs import fill_inputs, input_names


def test_inputs_are_filled_in_with_and_without_spaces():
    assert fill_inputs("{{inputs.a}} and {{  inputs.b-c }}", {"a": "1", "b-c": "2"}) == "1 and 2"


def test_what_a_value_contains_is_not_filled_in_again():
    assert fill_inputs("{{ inputs.a }}", {"a": "{{ inputs.b }} \\1", "b": "x"}) == "{{ inputs.b }} \\1"


def test_other_braces_are_left_alone():
    task = "{{ other.a }} { inputs.a } {{ input.a }} {% raw %}"

    assert fill_inputs(task, {}) == task
    assert input_names(task) == ()


def test_names_come_once_and_in_order():
    assert input_names("{{ inputs.b }}{{ inputs.a }}{{ inputs.b }}") == ("b", "a")


def test_a_missing_value_is_an_error():
    with pytest.raises(KeyError):
        fill_inputs("{{ inputs.a }}", {})
