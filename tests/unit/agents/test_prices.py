"""What did a call cost? Expected figures are computed by hand from the published price per million tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cf_workers.agents import prices
from cf_workers.agents.definition import Usage
from cf_workers.agents.prices import cost_nanos, cost_usd, overrides
from cf_workers.agents.reply import usage_of

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


def reported(**usage):
    """A usage as the provider reports it."""
    return usage_of({"usage": usage})


# Each figure is a sum of tokens times billionths of a dollar a token: $1 per million tokens is 1000 of them.
BILLS = [
    (
        "uncached",
        "claude-haiku-4-5",
        reported(input_tokens=2095, output_tokens=503),
        2095 * 1000 + 503 * 5000,
    ),
    (
        "written for five minutes",
        "claude-sonnet-5-5",
        reported(
            input_tokens=21,
            output_tokens=393,
            cache_creation_input_tokens=18_804,
            cache_read_input_tokens=0,
            cache_creation={"ephemeral_5m_input_tokens": 18_804, "ephemeral_1h_input_tokens": 0},
            service_tier="standard",
        ),
        21 * 2000 + 18_804 * 2500 + 393 * 10_000,
    ),
    (
        "written for an hour",
        "claude-opus-5-5",
        reported(
            input_tokens=21,
            output_tokens=393,
            cache_creation_input_tokens=18_804,
            cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 18_804},
        ),
        21 * 4000 + 18_804 * 8000 + 393 * 20_000,
    ),
    (
        "read",
        "claude-sonnet-5-5",
        reported(input_tokens=21, output_tokens=393, cache_read_input_tokens=188_086),
        21 * 2000 + 188_086 * 100 + 393 * 10_000,
    ),
    (
        "written for both and read",
        "claude-fable-5-1",
        reported(
            input_tokens=2048,
            output_tokens=503,
            cache_read_input_tokens=1800,
            cache_creation_input_tokens=248,
            cache_creation={"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
        ),
        2048 * 10_000 + 148 * 12_500 + 100 * 20_000 + 1800 * 250 + 503 * 50_000,
    ),
    (
        "batch",
        "claude-opus-4-8",
        reported(input_tokens=1001, output_tokens=77, service_tier="batch"),
        1001 * 2500 + 77 * 12_500,
    ),
    (
        "batch, read and written",
        "claude-haiku-4-5",
        reported(
            input_tokens=4,
            output_tokens=6,
            cache_read_input_tokens=8000,
            cache_creation_input_tokens=2000,
            service_tier="batch",
        ),
        4 * 500 + 8000 * 50 + 2000 * 625 + 6 * 2500,
    ),
    (
        "below the cliff",
        "claude-haiku-5-5",
        reported(input_tokens=99_999, output_tokens=9),
        99_999 * 100 + 9 * 500,
    ),
    (
        "above the cliff by what was read",
        "claude-haiku-5-5",
        reported(input_tokens=1, output_tokens=9, cache_read_input_tokens=100_000),
        1 * 500 + 100_000 * 50 + 9 * 2500,
    ),
    (
        "above the cliff in a batch",
        "claude-haiku-5-5",
        reported(input_tokens=100_001, output_tokens=9, service_tier="batch"),
        100_001 * 250 + 9 * 1250,
    ),
    (
        "fast",
        "claude-opus-5-5",
        reported(input_tokens=10, output_tokens=5, speed="fast"),
        10 * 8000 + 5 * 40_000,
    ),
    (
        "in the United States",
        "claude-opus-5-5",
        reported(input_tokens=10, output_tokens=5, inference_geo="us"),
        10 * 4400 + 5 * 22_000,
    ),
    (
        "with two searches, which a batch does not make cheaper",
        "claude-haiku-4-5",
        reported(
            input_tokens=10, output_tokens=5, service_tier="batch", server_tool_use={"web_search_requests": 2}
        ),
        10 * 500 + 5 * 2500 + 2 * 10_000_000,
    ),
    (
        "of our own table",
        "claude-mythos-5-1",
        reported(input_tokens=3, cache_read_input_tokens=7),
        3 * 10_000 + 7 * 250,
    ),
    ("refused before any output", "claude-haiku-4-5", reported(), 0),
    ("unknown model", "claude-haiku-9", reported(input_tokens=5), None),
    (
        "priority tier, whose price is a contract's",
        "claude-opus-5",
        reported(input_tokens=5, service_tier="priority"),
        None,
    ),
    (
        "fast, of a model that has no fast price",
        "claude-sonnet-5-5",
        reported(input_tokens=5, speed="fast"),
        None,
    ),
    ("fast, in our own table", "claude-mythos-5", reported(input_tokens=5, speed="fast"), None),
    ("an unknown region", "claude-opus-5-5", reported(input_tokens=5, inference_geo="moon"), None),
]


@pytest.mark.parametrize(
    ("model", "usage", "nanos"), [bill[1:] for bill in BILLS], ids=[bill[0] for bill in BILLS]
)
def test_a_real_usage_costs_what_it_costs_by_hand(model, usage, nanos):
    assert cost_nanos(model, usage, at=NOVEMBER) == nanos


def test_half_a_billionth_is_rounded_once_to_the_even_one():
    usage = reported(cache_creation_input_tokens=1, service_tier="batch")  # 62.5 billionths

    assert cost_nanos("claude-haiku-5-5", usage, at=NOVEMBER) == 62
    assert cost_nanos("claude-haiku-5-5", usage + usage + usage, at=NOVEMBER) == 188  # 187.5


def test_an_unknown_price_is_warned_of_once_and_by_name(caplog, monkeypatch):
    monkeypatch.setattr(prices, "_warned", set())

    for _ in range(3):
        cost_nanos("claude-haiku-9", Usage(input_tokens=1))
        cost_nanos("claude-haiku-4-5", Usage(input_tokens=1))

    assert [record.getMessage().split(" tier")[0] for record in caplog.records] == [
        "price.unknown model=claude-haiku-9"
    ]
