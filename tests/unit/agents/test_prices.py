"""What did a call cost? Expected figures are computed by hand from the published price per million tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cf_workers.agents.definition import Usage
from cf_workers.agents.prices import cost_usd, overrides

M = 1_000_000
NOVEMBER = datetime(2026, 11, 21, tzinfo=UTC)

#       model              input output w5m    w1h    read    batch in / out
TABLE = [
    ("claude-fable-5-2", "8", "40", "10", "16", "0.20", "4", "20"),
    ("claude-mythos-5-2", "8", "40", "10", "16", "0.20", "4", "20"),
    ("claude-haiku-5-5", "0.10", "0.50", "0.125", "0.20", "0.01", "0.05", "0.25"),
    ("claude-sonnet-5-5", "2", "10", "2.50", "4", "0.10", "1", "5"),
    ("claude-opus-5-5", "4", "20", "5", "8", "0.20", "2", "10"),
    ("claude-fable-5-1", "10", "50", "12.50", "20", "0.25", "5", "25"),
    ("claude-mythos-5-1", "10", "50", "12.50", "20", "0.25", "5", "25"),
    ("claude-sonnet-5", "2", "10", "2.50", "4", "0.20", "1", "5"),
    ("claude-fable-5", "10", "50", "12.50", "20", "1", "5", "25"),
    ("claude-mythos-5", "10", "50", "12.50", "20", "1", "5", "25"),
    ("claude-opus-5", "5", "25", "6.25", "10", "0.50", "2.50", "12.50"),
    ("claude-opus-4-8", "5", "25", "6.25", "10", "0.50", "2.50", "12.50"),
    ("claude-opus-4-7", "5", "25", "6.25", "10", "0.50", "2.50", "12.50"),
    ("claude-opus-4-6", "5", "25", "6.25", "10", "0.50", "2.50", "12.50"),
    ("claude-sonnet-4-6", "3", "15", "3.75", "6", "0.30", "1.50", "7.50"),
    ("claude-haiku-4-5", "1", "5", "1.25", "2", "0.10", "0.50", "2.50"),
    ("claude-haiku-4-5-20251001", "1", "5", "1.25", "2", "0.10", "0.50", "2.50"),
    ("claude-opus-4-5-20251101", "5", "25", "6.25", "10", "0.50", "2.50", "12.50"),
    ("claude-sonnet-4-5-20250929", "3", "15", "3.75", "6", "0.30", "1.50", "7.50"),
]

K = 100_000
"""Below every size at which a model changes its price."""
WRITE_5M = Usage(cache_creation_input_tokens=K, cache_creation_5m_input_tokens=K)
WRITE_1H = Usage(cache_creation_input_tokens=K, cache_creation_1h_input_tokens=K)
READ = Usage(cache_read_input_tokens=K)


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_a_tenth_of_a_million_tokens_of_each_kind_costs_a_tenth_of_the_published_price(row):
    model, *prices = row
    usages = [Usage(input_tokens=K), Usage(output_tokens=K), WRITE_5M, WRITE_1H, READ]
    batches = [Usage(input_tokens=K), Usage(output_tokens=K)]

    costs = [cost_usd(model, usage, at=NOVEMBER) for usage in usages]
    costs += [cost_usd(model, usage, batch=True, at=NOVEMBER) for usage in batches]

    assert costs == [Decimal(price) / 10 for price in prices]


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-mythos-5", "claude-opus-5-5"])
def test_cache_writes_and_reads_are_halved_in_a_batch_as_well(model):
    for usage in (WRITE_5M, WRITE_1H, READ):
        assert cost_usd(model, usage, batch=True, at=NOVEMBER) == cost_usd(model, usage, at=NOVEMBER) / 2


@pytest.mark.parametrize(
    ("prompt", "expected"), [(100_000, "0.0105"), (100_001, "0.0525005")], ids=["at the cliff", "over it"]
)
def test_haiku_5_5_bills_the_whole_request_at_the_higher_price_above_100_000_prompt_tokens(prompt, expected):
    usage = Usage(input_tokens=prompt, output_tokens=1000)

    assert cost_usd("claude-haiku-5-5", usage, at=NOVEMBER) == Decimal(expected)


def test_tokens_written_and_read_count_towards_the_cliff():
    usage = Usage(input_tokens=1, cache_read_input_tokens=100_000)

    expected = (Decimal("0.50") * 1 + Decimal("0.05") * 100_000) / M
    assert cost_usd("claude-haiku-5-5", usage, at=NOVEMBER) == expected


@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-mythos-5-1"])
def test_a_mixed_request_is_the_sum_of_its_parts(model):
    usage = Usage(
        input_tokens=100,
        cache_creation_input_tokens=3000,
        cache_creation_5m_input_tokens=1000,
        cache_creation_1h_input_tokens=2000,
        cache_read_input_tokens=20_000,
        output_tokens=500,
    )
    by_hand = {
        "claude-sonnet-5-5": (100 * 2 + 1000 * Decimal("2.5") + 2000 * 4 + 20_000 * Decimal("0.1") + 500 * 10)
        / M,
        "claude-mythos-5-1": (
            (100 * 10 + 1000 * Decimal("12.5") + 2000 * 20 + 20_000 * Decimal("0.25") + 500 * 50) / M
        ),
    }

    assert cost_usd(model, usage, at=NOVEMBER) == by_hand[model]


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-mythos-5"])
def test_a_write_whose_lifetime_is_not_reported_is_one_for_five_minutes(model):
    unsplit = Usage(cache_creation_input_tokens=K)

    assert cost_usd(model, unsplit, at=NOVEMBER) == cost_usd(model, WRITE_5M, at=NOVEMBER)


def test_a_usage_of_the_batch_tier_is_priced_as_a_batch():
    usage = Usage(input_tokens=M, service_tier="batch")

    assert cost_usd("claude-haiku-4-5", usage, at=NOVEMBER) == Decimal("0.50")


def test_a_price_is_that_of_the_day():
    before, after = datetime(2026, 10, 6, 23, 59, tzinfo=UTC), datetime(2026, 10, 7, tzinfo=UTC)

    assert cost_usd("claude-sonnet-5-5", READ, at=before) == Decimal("0.020")
    assert cost_usd("claude-sonnet-5-5", READ, at=after) == Decimal("0.010")


def test_a_moment_without_time_zone_is_utc():
    assert cost_usd("claude-sonnet-5-5", READ, at=datetime(2026, 10, 6, 23, 59)) == Decimal("0.020")


@pytest.mark.parametrize(
    "model", ["claude-haiku-9", "gpt-5", "", "claude-haiku-4-50", "claude-haiku-4-5-turbo", "my-own-model"]
)
def test_an_unknown_model_costs_none_and_never_zero(model):
    assert cost_usd(model, Usage(input_tokens=M), at=NOVEMBER) is None


def test_a_model_of_which_only_some_prices_are_known_costs_none_where_another_is_needed():
    model = "claude-mythos-preview"

    assert cost_usd(model, Usage(input_tokens=M, output_tokens=M), at=NOVEMBER) == Decimal(150)
    for unknown in (WRITE_5M, WRITE_1H, READ):
        assert cost_usd(model, unknown, at=NOVEMBER) is None
    assert cost_usd(model, Usage(input_tokens=M), batch=True, at=NOVEMBER) is None


def test_no_tokens_cost_nothing():
    assert cost_usd("claude-haiku-4-5", Usage(), at=NOVEMBER) == 0
    assert cost_usd("claude-mythos-5", Usage(), at=NOVEMBER) == 0


def test_every_price_of_our_own_names_its_source():
    assert overrides()
    assert all(row.source for row in overrides())
