"""A graph of any shape is drawn with every step visible and every line where it belongs."""

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cf_workers.flower.drawing import BOX_HEIGHT, BOX_WIDTH, MOST_STEPS, draw
from cf_workers.workflows.graph import Graph


@st.composite
def graphs(draw_from):
    size = draw_from(st.integers(1, 14))
    return Graph(
        {
            f"s{n}": [f"s{m}" for m in draw_from(st.sets(st.integers(0, n - 1), max_size=4))] if n else []
            for n in range(size)
        }
    )


def ends(path):
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path)]
    return tuple(numbers[:2]), tuple(numbers[-2:])


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_boxes_never_overlap_and_lie_inside_the_picture(graph):
    picture = draw(graph)

    spots = sorted((box.x, box.y) for box in picture.boxes)
    assert len(spots) == len(graph)
    for (x, y), (next_x, next_y) in pairwise(spots):
        assert x != next_x or next_y - y >= BOX_HEIGHT
    assert all(x >= 0 and x + BOX_WIDTH <= picture.width for x, _ in spots)
    assert all(y >= 0 and y + BOX_HEIGHT <= picture.height for _, y in spots)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_every_dependency_is_a_line_from_the_right_of_one_box_to_the_left_of_the_other(graph):
    picture = draw(graph)

    box = {one.step: one for one in picture.boxes}
    wanted = {(before, after) for after in graph for before in graph.dependencies(after)}
    assert {(line.before, line.after) for line in picture.lines} == wanted
    for line in picture.lines:
        start, end = ends(line.path)
        assert start == (box[line.before].x + BOX_WIDTH, box[line.before].y + BOX_HEIGHT / 2)
        assert end == (box[line.after].x, box[line.after].y + BOX_HEIGHT / 2)
        assert box[line.before].x < box[line.after].x


def test_a_line_that_passes_a_layer_crosses_no_box_of_it():
    picture = draw(Graph({"a": [], "b": ["a"], "c": ["a", "b"]}))

    middle = next(box for box in picture.boxes if box.step == "b")
    (passing,) = [line for line in picture.lines if (line.before, line.after) == ("a", "c")]
    level = float(re.search(r"([\d.]+)H", passing.path)[1])
    assert not middle.y <= level <= middle.y + BOX_HEIGHT


def test_crossings_that_can_be_avoided_are_avoided():
    picture = draw(Graph({"a": [], "b": [], "under-b": ["b"], "under-a": ["a"]}))

    y = {box.step: box.y for box in picture.boxes}
    assert (y["a"] < y["b"]) == (y["under-a"] < y["under-b"])


def test_a_graph_that_nobody_could_look_at_is_not_drawn():
    assert draw(Graph({})) is None
    assert draw(Graph({f"s{n}": [] for n in range(MOST_STEPS)})) is not None
    assert draw(Graph({f"s{n}": [] for n in range(MOST_STEPS + 1)})) is None
    assert draw(Graph({f"s{n}": [f"s{m}" for m in range(n)] for n in range(60)})) is None
