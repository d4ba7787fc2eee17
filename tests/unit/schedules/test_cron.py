"""A cron expression ticks by the clocks of its time zone, also where these are put forward or back."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cf_workers.schedules import parse_cron

BERLIN = "Europe/Berlin"
"""Forward on 2026-03-29 at 02:00 (01:00 UTC), back on 2026-10-25 at 03:00 (01:00 UTC)."""


def ticks(text, zone, begin, count):
    cron = parse_cron(text, ZoneInfo(zone))
    moment = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    found = []
    for _ in range(count):
        moment = cron.after(moment)
        found.append(f"{moment:%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("text", "begin", "expected"),
    [
        ("30 3 * * *", "2026-01-01 03:29:59", ["01-01 03:30", "01-02 03:30"]),
        ("30 3 * * *", "2026-01-01 03:30:00", ["01-02 03:30"]),
        ("*/20 * * * *", "2026-01-01 10:05", ["01-01 10:20", "01-01 10:40", "01-01 11:00"]),
        ("0 9-17/4 * * mon-fri", "2026-01-02 17:30", ["01-05 09:00", "01-05 13:00", "01-05 17:00"]),
        ("0 0 1,15 * *", "2026-01-02 00:00", ["01-15 00:00", "02-01 00:00"]),
        ("0 0 * * fri-sun", "2026-01-01 12:00", ["01-02 00:00", "01-03 00:00", "01-04 00:00", "01-09 00:00"]),
        ("0 0 * * 7", "2026-01-01 12:00", ["01-04 00:00"]),
        ("0 0 29 feb *", "2026-01-01 12:00", ["02-29 00:00"]),
        ("5/25 12 * JAN *", "2026-01-01 00:00", ["01-01 12:05", "01-01 12:30", "01-01 12:55", "01-02 12:05"]),
        ("@weekly", "2026-01-01 00:00", ["01-04 00:00"]),
        ("@hourly", "2026-01-01 00:30", ["01-01 01:00"]),
    ],
)
def test_an_expression_ticks_when_crontab_says(text, begin, expected):
    assert ticks(text, "UTC", begin, len(expected)) == expected


def test_where_both_kinds_of_day_are_restricted_either_will_do():
    assert ticks("0 0 13 * fri", "UTC", "2026-01-08 12:00", 3) == [
        "01-09 00:00",
        "01-13 00:00",
        "01-16 00:00",
    ]


def test_a_time_of_a_zone_follows_its_summer_time():
    assert ticks("0 9 * * *", BERLIN, "2026-03-28 00:00", 3) == ["03-28 08:00", "03-29 07:00", "03-30 07:00"]


def test_a_time_that_does_not_exist_ticks_once_at_the_end_of_the_gap():
    assert ticks("30 2 * * *", BERLIN, "2026-03-28 12:00", 2) == ["03-29 01:00", "03-30 00:30"]
    assert ticks("0,30 2,3 * * *", BERLIN, "2026-03-28 12:00", 3) == [
        "03-29 01:00",
        "03-29 01:30",
        "03-30 00:00",
    ]


def test_a_time_that_comes_twice_ticks_the_first_time():
    assert ticks("30 2 * * *", BERLIN, "2026-10-24 12:00", 2) == ["10-25 00:30", "10-26 01:30"]


def test_an_expression_of_every_hour_ticks_each_hour_that_there_is():
    assert ticks("30 * * * *", BERLIN, "2026-03-28 23:00", 4) == [
        "03-28 23:30",
        "03-29 00:30",
        "03-29 01:30",
        "03-29 02:30",
    ]
    assert ticks("30 * * * *", BERLIN, "2026-10-24 23:00", 4) == [
        "10-24 23:30",
        "10-25 00:30",
        "10-25 01:30",
        "10-25 02:30",
    ]


def test_clocks_may_change_at_midnight_by_half_an_hour_or_by_a_whole_day():
    assert ticks("15 0 * * *", "America/Havana", "2026-03-07 12:00", 2) == ["03-08 05:00", "03-09 04:15"]
    assert ticks("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 00:00", 2) == ["10-03 15:30", "10-04 15:15"]
    assert ticks("0 12 * * *", "Pacific/Apia", "2011-12-29 23:00", 3) == [
        "12-30 10:00",  # the 30th did not exist there: at the end of the gap, midnight of the 31st
        "12-30 22:00",
        "12-31 22:00",
    ]


@settings(max_examples=60, deadline=None)
@given(
    minute=st.sampled_from(["*", "*/7", "0", "30", "59"]),
    hour=st.sampled_from(["*", "*/2", "0", "2", "1-3", "23"]),
    zone=st.sampled_from([BERLIN, "America/Havana", "Australia/Lord_Howe", "UTC", "America/Sao_Paulo"]),
    day=st.integers(0, 364),
    seconds=st.integers(0, 86_399),
)
def test_no_tick_lies_between_the_latest_one_and_the_next_one(minute, hour, zone, day, seconds):
    cron = parse_cron(f"{minute} {hour} * * *", ZoneInfo(zone))
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day, seconds=seconds)

    latest, coming = cron.latest(moment), cron.after(moment)

    assert latest <= moment < coming
    assert cron.after(latest) == coming
    assert cron.latest(coming) == coming
    assert cron.after(latest - timedelta(seconds=1)) == latest


@settings(max_examples=20, deadline=None)
@given(hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_a_daily_time_ticks_once_for_each_day_of_a_year_with_changed_clocks(hour, minute):
    cron = parse_cron(f"{minute} {hour} * * *", ZoneInfo(BERLIN))
    found = [datetime(2025, 12, 31, 12, tzinfo=UTC)]
    while len(found) < 366:
        found.append(cron.after(found[-1]))

    assert all(
        timedelta(hours=22) <= later - earlier <= timedelta(hours=26)
        for earlier, later in pairwise(found[1:])
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0 3 * *", "has 4 fields, not five"),
        ("60 3 * * *", "the minute: it goes from 0 to 59"),
        ("0 24 * * *", "the hour"),
        ("0 0 0 * *", "the day of month"),
        ("0 0 * 13 *", "the month"),
        ("0 0 * * funday", "'funday' cannot be the day of week"),
        ("5-1 * * * *", "runs backwards"),
        ("*/0 * * * *", "a step of 0"),
        ("*-5 * * * *", "cannot be the minute"),
        ("0 0 31 2 *", "never ticks"),
        ("", "has 0 fields"),
        ("½ * * * *", "cannot be the minute"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_part_that_is_wrong(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_cron(text, ZoneInfo("UTC"))
