"""At which moments does a cron expression tick in a time zone, also where clocks are put forward or back?

Five fields as in crontab(5): minute, hour, day of month, month, day of week; lists, ranges, steps, the names
of months and days, and `@hourly` to `@yearly`. Where both kinds of day are restricted, either will do.

Clocks that change (the rules of Vixie's cron, https://man7.org/linux/man-pages/man8/cron.8.html): a time that
does not exist that day ticks at the end of the gap, once; a time that comes twice ticks the first time. An
expression that ticks in every hour of the day follows the clock instead: it has no ticks in a gap, and those
of a repeated hour twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ITEM = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?")
_HOURS_A_DAY = 24
_SEARCHED = timedelta(days=366 * 9)
"""The 29th of February may be eight years away."""


@dataclass(frozen=True)
class _Field:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    names_from: int = 0


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS, 1),
    _Field("day of week", 0, 7, _DAYS),
)


@dataclass(frozen=True)
class Cron:
    """A cron expression in a time zone.

    Args:
        text: as its author wrote it.
        weekdays: from 0, Sunday, to 6.
        either_day: a day matches by its number or by its weekday, since both are restricted.
    """

    text: str
    zone: ZoneInfo
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def __str__(self) -> str:
        return f"{self.text} {self.zone.key}"

    def after(self, moment: datetime) -> datetime | None:
        """The first tick after a moment, in UTC; `None` if there is none within nine years."""
        day = moment.astimezone(self.zone).date() - timedelta(days=1)
        last = day + _SEARCHED
        while day <= last:
            if found := [tick for tick in self._ticks_around(day) if tick > moment]:
                return min(found)
            day += timedelta(days=1)
        return None

    def latest(self, moment: datetime) -> datetime | None:
        """The last tick that is not after a moment, in UTC."""
        day = moment.astimezone(self.zone).date() + timedelta(days=1)
        first = day - _SEARCHED
        while day >= first:
            if found := [tick for tick in self._ticks_around(day) if tick <= moment]:
                return max(found)
            day -= timedelta(days=1)
        return None

    def _ticks_around(self, day: date) -> Iterator[datetime]:
        """Those of a day and of its neighbours: where clocks change at midnight, days overlap."""
        for offset in (-1, 0, 1):
            yield from _ticks_of(self, day + timedelta(days=offset))

    def _matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_number, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_number or by_weekday if self.either_day else by_number and by_weekday

    def _moments(self, day: date) -> Iterator[datetime]:
        every_hour = len(self.hours) == _HOURS_A_DAY
        for hour in self.hours:
            for minute in self.minutes:
                yield from _moments_of(
                    datetime(day.year, day.month, day.day, hour, minute), self.zone, every_hour
                )


@lru_cache(maxsize=1024)
def _ticks_of(cron: Cron, day: date) -> tuple[datetime, ...]:
    return tuple(sorted(set(cron._moments(day)))) if cron._matches(day) else ()


def _moments_of(local: datetime, zone: ZoneInfo, every_hour: bool) -> Iterator[datetime]:
    """When a wall clock shows a time: once, twice, or, in a gap, never."""
    first = local.replace(tzinfo=zone).astimezone(UTC)
    second = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if first == second:
        yield first
    elif first < second:
        yield first
        if every_hour:
            yield second
    elif not every_hour:
        yield _end_of_gap(second, first, zone)


def _end_of_gap(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The moment between two at which the clocks are put forward."""
    old = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


def parse_cron(text: str, zone: ZoneInfo) -> Cron:
    """Read a cron expression.

    Raises:
        ValueError: it is none, or it never ticks; the message says which part is wrong.
    """
    fields = MACROS.get(text.strip().lower(), text).split()
    if len(fields) != len(_FIELDS):
        names = ", ".join(field.name for field in _FIELDS)
        raise ValueError(f"{text[:80]!r} has {len(fields)} fields, not five: {names}")
    read = [_values(part, field) for part, field in zip(fields, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = read
    cron = Cron(
        text=text.strip(),
        zone=zone,
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(number % 7 for number in weekdays),
        either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
    )
    if cron.after(datetime(2000, 1, 1, tzinfo=UTC)) is None:
        raise ValueError(f"{text!r} never ticks: no such day exists")
    return cron


def _values(part: str, field: _Field) -> set[int]:
    return {number for item in part.split(",") for number in _item(item, field)}


def _item(item: str, field: _Field) -> range:
    """The numbers of `*`, `5`, `1-5`, `*/10`, `5/10` or `mon-fri`."""
    found = _ITEM.fullmatch(item)
    if not found or (found[1] == "*" and found[2]):
        raise ValueError(f"{item[:40]!r} cannot be the {field.name}")
    step = int(found[3]) if found[3] else 1
    if step == 0:
        raise ValueError(f"{item!r} cannot be the {field.name}: a step of 0 goes nowhere")
    if found[1] == "*":
        return range(field.first, field.last + 1, step)
    first = _number(found[1], field)
    last = _number(found[2], field) if found[2] else (field.last if found[3] else first)
    if found[2] and field.names == _DAYS and last == 0:
        last = 7  # fri-sun
    if last < first:
        raise ValueError(f"{item!r} cannot be the {field.name}: the range runs backwards")
    return range(first, last + 1, step)


def _number(text: str, field: _Field) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.names_from
    if not text.isascii() or not text.isdigit() or not field.first <= int(text) <= field.last:
        raise ValueError(
            f"{text[:40]!r} cannot be the {field.name}: it goes from {field.first} to {field.last}"
        )
    return int(text)
