"""When are two calls the same call?"""

from __future__ import annotations

import math
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.cache import fingerprint
from cf_workers.errors import InputError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
delimiters = st.text(alphabet=':,|"\\{}[]\n\0 ab', max_size=6)


def as_written(value):
    """The value with its types: 1, 1.0 and true are different values here."""
    if isinstance(value, dict):
        return {name: as_written(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [as_written(inner) for inner in value]
    return type(value).__name__, repr(value)


@given(st.dictionaries(st.text(), json_values, max_size=4), st.text())
def test_the_same_parts_have_the_same_fingerprint_in_any_order(parts, namespace):
    turned = dict(reversed(list(parts.items())))

    assert fingerprint(parts, namespace=namespace) == fingerprint(turned, namespace=namespace)


@given(json_values, json_values)
def test_different_values_have_different_fingerprints(one, other):
    same = fingerprint({"x": one}, namespace="n") == fingerprint({"x": other}, namespace="n")

    assert same == (as_written(one) == as_written(other))


@given(st.tuples(delimiters, delimiters, delimiters), st.tuples(delimiters, delimiters, delimiters))
def test_parts_cannot_run_into_each_other(one, other):
    def of(texts):
        return fingerprint(dict(zip("abc", texts, strict=True)), namespace="n")

    assert (of(one) == of(other)) == (one == other)


@given(delimiters, delimiters)
def test_a_namespace_cannot_run_into_the_parts(namespace, text):
    other = fingerprint({"a": text}, namespace=namespace)

    assert fingerprint({"a": namespace}, namespace=text) != other or namespace == text
    assert fingerprint({"a": text}, namespace=namespace + "x") != other


def test_two_lone_surrogates_are_not_the_character_they_would_encode():
    lone, character = "\ud83d\ude00", "\U0001f600"

    assert fingerprint({"a": lone}, namespace="n") != fingerprint({"a": character}, namespace="n")


@pytest.mark.parametrize(
    "value", [(1, 2), b"bytes", {1: "a"}, {"a": object()}, [math.nan], math.inf, {"s": {1}}, Enum]
)
def test_what_is_not_json_is_refused_with_the_place_and_without_the_value(value):
    with pytest.raises(InputError, match=r"parts\.settings"):
        fingerprint({"settings": value}, namespace="n")


def test_what_is_nested_too_deeply_is_refused():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(InputError, match="nested"):
        fingerprint({"deep": deep}, namespace="n")
