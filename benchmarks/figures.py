"""How are measurements summed up, held against an aim, and printed?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

VERDICTS = {True: "pass", False: "MISS", None: "-"}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        aim: what was promised or aimed at, as text; empty where a figure is only shown.
        met: whether the aim is met; `None` where there is none.
    """

    what: str
    aim: str
    measured: str
    met: bool | None = None


@dataclass(frozen=True)
class Table:
    """Details behind the findings."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values to take the mean of")
    return math.fsum(values) / len(values)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank).

    Nothing is interpolated: every figure printed was measured.

    Raises:
        ValueError: there are no values, or `percent` is not within 0 to 100.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    if not 0 <= percent <= 100:
        raise ValueError(f"percent is {percent!r}; it goes from 0 to 100")
    ordered = sorted(values)
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


def median(values: Sequence[float]) -> float:
    """The middle value; the mean of the two middle ones when their number is even.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values to take the median of")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def saving(faster: float, slower: float) -> float:
    """By how much of `slower` the time of `faster` is shorter: 0.66 for 1 s instead of 3 s.

    Raises:
        ValueError: `slower` is not above zero.
    """
    if slower <= 0:
        raise ValueError(f"cannot save on {slower!r} seconds")
    return 1 - faster / slower


def rate_between(moments: Sequence[float], begin: float, end: float) -> float:
    """Moments a second within the half-open span after `begin` up to `end`.

    Raises:
        ValueError: the span is empty.
    """
    if end <= begin:
        raise ValueError(f"no time between {begin!r} and {end!r}")
    return sum(begin < moment <= end for moment in moments) / (end - begin)


def as_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that reads well as plain text too: columns are padded to one width."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def line_of(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line_of(head), rule, *map(line_of, rows)])
