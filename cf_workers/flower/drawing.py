"""Where does each step of a run stand in its picture, and how do the lines between them go?

Layers from left to right by the longest way from a root; within a layer the steps follow their neighbours
(barycentres, after Sugiyama, Tagawa and Toda, 1981). A line that passes a layer keeps a place free in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cf_workers.workflows.graph import Graph

BOX_WIDTH, BOX_HEIGHT = 188, 46
_COLUMN, _ROW, _MARGIN = 250, 64, 16
_BEND_ROW = 26
_SWEEPS = 6
MOST_STEPS, MOST_BENDS = 250, 2000
"""A larger graph is a table, not a picture."""

_Place = tuple[str, int]
"""A step, or a line's passage through a layer."""


@dataclass(frozen=True)
class Box:
    """A step; its upper left corner."""

    step: str
    x: float
    y: float


@dataclass(frozen=True)
class Line:
    """A dependency.

    Args:
        path: as the `d` of an SVG path.
    """

    before: str
    after: str
    path: str


@dataclass(frozen=True)
class Drawing:
    """A picture, in pixels."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    box_width: int = BOX_WIDTH
    box_height: int = BOX_HEIGHT


def draw(graph: Graph) -> Drawing | None:
    """Lay a graph out; `None` for one that is empty, or too large to be looked at."""
    if not 0 < len(graph) <= MOST_STEPS:
        return None
    layer = _layers(graph)
    routes = _routes(graph, layer)
    if sum(map(len, routes.values())) > MOST_BENDS:
        return None
    neighbours = _neighbours(routes)
    columns = _ordered(_columns(layer, routes), neighbours)
    heights = _heights(columns, neighbours)
    return _drawing(layer, routes, heights)


def _layers(graph: Graph) -> dict[str, int]:
    layer: dict[str, int] = {}
    for step in graph.order:
        layer[step] = max((layer[one] + 1 for one in graph.dependencies(step)), default=0)
    return layer


def _routes(graph: Graph, layer: Mapping[str, int]) -> dict[tuple[str, str], list[_Place]]:
    """Every line as the places it passes, its ends included."""
    routes = {}
    for after in graph:
        for before in graph.dependencies(after):
            passed = range(layer[before] + 1, layer[after])
            bends = [(f"{before}\t{after}", number) for number in passed]
            routes[before, after] = [(before, layer[before]), *bends, (after, layer[after])]
    return routes


def _columns(
    layer: Mapping[str, int], routes: Mapping[tuple[str, str], Sequence[_Place]]
) -> list[list[_Place]]:
    columns: list[list[_Place]] = [[] for _ in range(max(layer.values()) + 1)]
    for step, number in layer.items():
        columns[number].append((step, number))
    for route in routes.values():
        for bend in route[1:-1]:
            columns[bend[1]].append(bend)
    return columns


def _neighbours(routes: Mapping[tuple[str, str], Sequence[_Place]]) -> dict[_Place, tuple[set[_Place], ...]]:
    """The places to the left and to the right of each."""
    found: dict[_Place, tuple[set[_Place], ...]] = {}
    for route in routes.values():
        for left, right in pairwise(route):
            found.setdefault(left, (set(), set()))[1].add(right)
            found.setdefault(right, (set(), set()))[0].add(left)
    return found


def _ordered(
    columns: list[list[_Place]], neighbours: Mapping[_Place, tuple[set[_Place], ...]]
) -> list[list[_Place]]:
    """Every column sorted by where its neighbours are, from the left and from the right in turn."""
    rank = {place: index / len(column) for column in columns for index, place in enumerate(column)}
    for sweep in range(_SWEEPS):
        side = sweep % 2
        for column in columns if side == 0 else reversed(columns):
            middle = {place: _mean(rank, neighbours, place, side) for place in column}
            column.sort(key=middle.__getitem__)
            rank.update({place: index / len(column) for index, place in enumerate(column)})
    return columns


def _heights(
    columns: Sequence[Sequence[_Place]], neighbours: Mapping[_Place, tuple[set[_Place], ...]]
) -> dict[_Place, float]:
    """The middle of each place: near its neighbours, and never above the one before it."""
    heights: dict[_Place, float] = {}
    for column in columns:
        heights.update(_spread(column, dict.fromkeys(column, 0.0)))
    for sweep in range(_SWEEPS):
        side = sweep % 2
        for column in columns if side == 0 else reversed(columns):
            heights.update(
                _spread(column, {place: _mean(heights, neighbours, place, side) for place in column})
            )
    top = min(heights[place] - _room(place) / 2 for column in columns for place in column)
    return {place: height - top for place, height in heights.items()}


def _mean(
    values: Mapping[_Place, float],
    neighbours: Mapping[_Place, tuple[set[_Place], ...]],
    place: _Place,
    side: int,
) -> float:
    near = [values[one] for one in neighbours.get(place, (set(), set()))[side]]
    return sum(near) / len(near) if near else values[place]


def _spread(column: Sequence[_Place], wanted: Mapping[_Place, float]) -> dict[_Place, float]:
    """Heights in the column's order with room between them, as near to what is wanted as that allows."""
    placed: dict[_Place, float] = {}
    floor = float("-inf")
    for place in column:
        half = _room(place) / 2
        placed[place] = max(wanted[place], floor + half)
        floor = placed[place] + half
    shift = sum(wanted[place] - placed[place] for place in column) / len(column)
    return {place: height + shift for place, height in placed.items()}


def _room(place: _Place) -> float:
    return _BEND_ROW if "\t" in place[0] else _ROW


def _drawing(
    layer: Mapping[str, int],
    routes: Mapping[tuple[str, str], Sequence[_Place]],
    heights: Mapping[_Place, float],
) -> Drawing:
    boxes = tuple(
        Box(step, _MARGIN + number * _COLUMN, round(_MARGIN + heights[step, number] - BOX_HEIGHT / 2, 1))
        for step, number in layer.items()
    )
    lines = tuple(Line(before, after, _path(route, heights)) for (before, after), route in routes.items())
    return Drawing(
        width=2 * _MARGIN + max(layer.values()) * _COLUMN + BOX_WIDTH,
        height=round(2 * _MARGIN + max(height + _room(place) / 2 for place, height in heights.items())),
        boxes=boxes,
        lines=lines,
    )


def _path(route: Sequence[_Place], heights: Mapping[_Place, float]) -> str:
    """Curves from the right side of one box to the left side of another, level through what they pass."""
    bend = (_COLUMN - BOX_WIDTH) / 2
    first, last = route[0], route[-1]
    parts = [f"M{_MARGIN + first[1] * _COLUMN + BOX_WIDTH},{_y(first, heights)}"]
    for before, place in pairwise(route):
        left = _MARGIN + place[1] * _COLUMN
        start = left - 2 * bend
        parts.append(
            f"C{start + bend},{_y(before, heights)} {left - bend},{_y(place, heights)} "
            f"{left},{_y(place, heights)}"
        )
        if place is not last:
            parts.append(f"H{left + BOX_WIDTH}")
    return "".join(parts)


def _y(place: _Place, heights: Mapping[_Place, float]) -> float:
    return round(_MARGIN + heights[place], 1)
