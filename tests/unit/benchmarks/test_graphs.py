"""Do the benchmarks know how fast each of their graphs could be run?"""

import random
from itertools import pairwise

import pytest

from benchmarks.graphs import (
    StepGraph,
    chain,
    fan,
    fan_in,
    fan_out,
    n_shape,
    ragged,
    random_graph,
    shared_join,
)

MAKERS = [n_shape, shared_join, ragged, fan, lambda rng: random_graph(rng, 1)]


def graph(dependencies, seconds):
    return StepGraph("test", dependencies, seconds)


def test_the_critical_path_is_the_longest_way_through():
    diamond = graph(
        {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}, {"a": 1.0, "b": 5.0, "c": 2.0, "d": 0.5}
    )

    assert diamond.critical_path() == 6.5


def test_a_lonely_step_may_be_the_critical_path():
    assert graph({"a": (), "b": ("a",), "alone": ()}, {"a": 1, "b": 1, "alone": 3}).critical_path() == 3


def test_waves_are_steps_of_equal_distance_from_the_roots():
    shape = graph({"a": (), "b": (), "c": ("a",), "d": ("b", "c")}, dict.fromkeys("abcd", 1.0))

    assert shape.levels() == [["a", "b"], ["c"], ["d"]]


def test_in_waves_each_step_waits_for_the_slowest_of_the_wave_before():
    shape = graph({"a": (), "b": (), "c": ("a",), "d": ("b",)}, {"a": 4.0, "b": 1.0, "c": 1.0, "d": 4.0})

    barred = shape.with_barriers()

    assert shape.critical_path() == 5.0
    assert barred.dependencies == {"a": (), "b": (), "c": ("a", "b"), "d": ("a", "b")}
    assert barred.critical_path() == 8.0


@pytest.mark.parametrize("make", MAKERS)
def test_a_graph_names_dependencies_before_the_steps_that_wait_for_them(make):
    made = make(random.Random(7))

    seen = set()
    for step, dependencies in made.dependencies.items():
        assert set(dependencies) <= seen
        seen.add(step)
    assert seen == made.seconds.keys()


@pytest.mark.parametrize("make", MAKERS)
def test_the_same_seed_makes_the_same_graph(make):
    assert make(random.Random(7)) == make(random.Random(7))


@pytest.mark.parametrize("make", MAKERS)
def test_waves_are_never_faster_than_the_critical_path(make):
    made = make(random.Random(7))

    assert made.with_barriers().critical_path() >= made.critical_path()


@pytest.mark.parametrize("make", [chain, fan_out, fan_in])
def test_a_shape_has_as_many_steps_as_asked_for(make):
    assert len(make(10).dependencies) == 10


def test_a_chain_waits_for_one_step_at_a_time():
    steps = list(chain(4).dependencies.items())

    assert all(later[1] == (earlier[0],) for earlier, later in pairwise(steps))
