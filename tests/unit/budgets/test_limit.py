"""Amounts, scopes and the periods that they are counted in."""

import pytest

from cf_workers.budgets import Limit, dollars, nanos_of, scope_of
from cf_workers.errors import InputError


@pytest.mark.parametrize(
    ("typed", "nanos"),
    [
        ("2.50", 2_500_000_000),
        (2.5, 2_500_000_000),
        (0, 0),
        (0.1, 100_000_000),
        ("1e-9", 1),
        (1_000_000, 10**15),
    ],
)
def test_an_amount_is_whole_billionths(typed, nanos):
    assert nanos_of(typed) == nanos


@pytest.mark.parametrize("typed", ["", "two", -1, "-0.01", True, float("nan"), "inf", 1_000_001, None])
def test_what_is_no_amount_is_refused(typed):
    with pytest.raises(InputError, match="not an amount of dollars"):
        nanos_of(typed)


@pytest.mark.parametrize(
    "typed", ["namespace", "day", "agent:a", "workflow:bug-fix", "run:4f2a", "workflow:a:b"]
)
def test_scopes_are_accepted_as_they_are_shown(typed):
    assert scope_of(typed) == typed


@pytest.mark.parametrize("typed", ["", "agent", "agent:", "model:x", "days", "Namespace"])
def test_what_a_budget_cannot_be_for_is_refused_with_what_it_can_be_for(typed):
    with pytest.raises(InputError) as caught:
        scope_of(typed)

    assert "agent:NAME" in caught.value.hint


@pytest.mark.parametrize(
    ("limit", "account"),
    [
        (Limit("namespace", 1), "namespace:total"),
        (Limit("day", 1), "day:2026-11-21"),
        (Limit("agent:a", 1, "day"), "agent:a:2026-11-21"),
        (Limit("workflow:w", 1, "month"), "workflow:w:2026-11"),
        (Limit("run:r", 1), "run:r:total"),
    ],
)
def test_an_account_is_a_scope_and_a_period(limit, account):
    assert limit.account(1_795_305_599.0) == account  # a second before midnight, UTC


def test_a_limit_survives_a_record():
    limit = Limit("day", 5, "day", "cheaper_model", ("claude-haiku-4-5",))

    assert Limit.of_json(limit.as_json()) == limit


def test_amounts_read_as_people_write_them():
    assert [dollars(n) for n in (0, 2_500_000_000, 10_000_000, 61_200_000)] == [
        "$0.00",
        "$2.50",
        "$0.01",
        "$0.0612",
    ]
