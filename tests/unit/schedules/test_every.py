"""An interval ticks at whole multiples of itself, the same for everybody."""

from datetime import UTC, datetime

import pytest

from cf_workers.schedules import parse_interval


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1d", 86_400), (90, 90), ("1 W", 604_800)],
)
def test_an_interval_is_read_with_its_units_or_in_seconds(value, seconds):
    assert parse_interval(value).seconds == seconds


def test_an_interval_ticks_at_its_multiples_whenever_one_looks():
    every = parse_interval("6h")
    moment = datetime(2026, 1, 1, 13, 37, tzinfo=UTC)

    assert every.latest(moment) == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert every.after(moment) == datetime(2026, 1, 1, 18, tzinfo=UTC)
    assert every.latest(datetime(2026, 1, 1, 18, tzinfo=UTC)) == datetime(2026, 1, 1, 18, tzinfo=UTC)


@pytest.mark.parametrize("value", ["", "5", "5 minutes", "-5m", 0, "0s", "367d", 1.5, "m"])
def test_what_is_no_interval_is_refused(value):
    with pytest.raises(ValueError, match=r"is not an interval|is too (short|long)"):
        parse_interval(value)
