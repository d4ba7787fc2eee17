"""What crosses the broker is written in one way and read strictly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cf_workers.wire import Payload, canonical_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Order(Payload):
    agent: str
    copies: int = 1


@given(json_values)
def test_the_one_spelling_says_the_same_as_the_value(value):
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), st.integers()), st.randoms(use_true_random=False))
def test_equal_values_are_spelt_alike_whatever_order_their_keys_have(value, random):
    items = list(value.items())
    random.shuffle(items)

    assert canonical_json(dict(items)) == canonical_json(value)


def test_the_one_spelling_has_no_spaces_and_keeps_text_as_it_is():
    assert canonical_json({"b": [1, 2], "a": "é"}) == '{"a":"é","b":[1,2]}'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, float("-inf")]])
def test_a_number_that_json_does_not_know_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


def test_what_is_not_json_is_refused():
    with pytest.raises(TypeError):
        canonical_json({"when": object()})


def test_a_payload_refuses_fields_that_it_does_not_know():
    with pytest.raises(ValidationError, match="prompt"):
        Order.model_validate({"agent": "a", "prompt": "x"})


def test_a_payload_cannot_be_changed():
    order = Order(agent="a")

    with pytest.raises(ValidationError, match="frozen"):
        order.copies = 2
