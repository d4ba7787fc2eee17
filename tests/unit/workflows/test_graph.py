"""The graph answers the same for the same steps, at any size."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_workers.errors import InputError
from cf_workers.workflows.graph import Graph, find_cycle

DIAMOND = {"start": [], "left": ["start"], "right": ["start"], "end": ["right", "left"]}


@st.composite
def acyclic(draw):
    """Steps declared in any order; the numbers in their names say which may wait for which."""
    size = draw(st.integers(0, 12))
    edges = {f"s{i}": [f"s{j}" for j in range(i) if draw(st.booleans())] for i in range(size)}
    return {step: edges[step] for step in draw(st.permutations(sorted(edges)))}


any_graph = st.integers(1, 8).flatmap(
    lambda size: st.fixed_dictionaries(
        {f"s{i}": st.lists(st.sampled_from([f"s{j}" for j in range(size)]), max_size=4) for i in range(size)}
    )
)


def test_a_diamond_knows_its_neighbours_in_declared_order():
    graph = Graph(DIAMOND)

    assert graph.dependencies("end") == ("right", "left")
    assert graph.successors("start") == ("left", "right")
    assert graph.roots == ("start",)
    assert graph.leaves == ("end",)
    assert graph.order == ("start", "left", "right", "end")


def test_the_order_keeps_the_declared_order_where_dependencies_allow_it():
    graph = Graph({"z": [], "late": ["m"], "a": [], "m": []})

    assert graph.order == ("z", "a", "m", "late")


def test_a_dependency_named_twice_counts_once():
    graph = Graph({"a": [], "b": ["a", "a"]})

    assert graph.dependencies("b") == ("a",)
    assert graph.successors("a") == ("b",)
    assert graph.order == ("a", "b")


def test_an_empty_graph_has_nothing_to_do():
    graph = Graph({})

    assert (graph.order, graph.roots, graph.leaves) == ((), (), ())
    assert graph.critical_path({}) == ([], 0.0)


def test_an_unknown_dependency_is_refused_by_name():
    with pytest.raises(InputError, match="'b' depends on 'nobody'"):
        Graph({"b": ["nobody"]})


def test_a_cycle_is_refused_and_named_step_by_step():
    with pytest.raises(InputError, match="a -> b -> c -> a") as caught:
        Graph({"before": [], "a": ["b", "before"], "b": ["c"], "c": ["a"], "after": ["a"]})

    assert caught.value.details["cycle"] == ["a", "b", "c", "a"]


def test_a_step_that_waits_for_itself_is_a_cycle():
    assert find_cycle({"a": ["a"]}) == ["a", "a"]


def test_the_critical_path_is_the_slowest_chain():
    path, seconds = Graph(DIAMOND).critical_path({"start": 1, "left": 5, "right": 2, "end": 1})

    assert path == ["start", "left", "end"]
    assert seconds == 7


def test_without_durations_the_critical_path_is_the_deepest_chain():
    path, seconds = Graph({"alone": [], "a": [], "b": ["a"], "c": ["b", "a"]}).critical_path({})

    assert (path, seconds) == (["a", "b", "c"], 0.0)


@pytest.mark.parametrize(
    "dependencies",
    [
        {f"s{i}": [f"s{i - 1}"] if i else [] for i in range(10_000)},
        {f"s{i}": [f"s{i + 1}"] if i < 9_999 else [] for i in range(10_000)},
        {"root": [], **{f"s{i}": ["root"] for i in range(10_000)}, "join": [f"s{i}" for i in range(10_000)]},
    ],
    ids=["chain", "chain declared backwards", "fan-out and join"],
)
def test_ten_thousand_steps_do_not_take_a_square_of_that(dependencies):
    started = time.perf_counter()

    graph = Graph(dependencies)
    path, _ = graph.critical_path({})
    cycle = find_cycle(dependencies)

    assert time.perf_counter() - started < 15, "it takes a tenth of a second; a square takes minutes"
    assert len(graph.order) == len(dependencies)
    assert len(path) in {3, 10_000}
    assert cycle is None


def test_a_cycle_of_ten_thousand_steps_is_found():
    cycle = find_cycle({f"s{i}": [f"s{(i + 1) % 10_000}"] for i in range(10_000)})

    assert cycle is not None
    assert len(cycle) == 10_001


@given(acyclic())
def test_every_step_comes_once_and_after_its_dependencies(dependencies):
    order = Graph(dependencies).order

    assert sorted(order) == sorted(dependencies)
    for step, needed in dependencies.items():
        assert all(order.index(dependency) < order.index(step) for dependency in needed)


@given(acyclic())
def test_no_step_is_kept_back_from_its_declared_place_without_a_reason(dependencies):
    """Of the steps that could come next, the one declared first does."""
    declared, done = list(dependencies), []

    for step in Graph(dependencies).order:
        possible = [s for s in declared if s not in done and set(dependencies[s]) <= set(done)]
        assert step == possible[0]
        done.append(step)


@given(acyclic())
def test_successors_mirror_dependencies(dependencies):
    graph = Graph(dependencies)

    forward = {(step, after) for step in graph for after in graph.successors(step)}

    assert forward == {(needed, step) for step in graph for needed in graph.dependencies(step)}


@given(acyclic(), st.data())
def test_the_critical_path_is_at_least_as_long_as_any_chain(dependencies, data):
    seconds = {step: float(data.draw(st.integers(0, 9))) for step in dependencies}

    path, total = Graph(dependencies).critical_path(seconds)

    def longest_to(step):
        return seconds[step] + max(map(longest_to, dependencies[step]), default=0.0)

    assert total == max(map(longest_to, dependencies), default=0.0)
    assert total == sum(seconds[step] for step in path)
    assert all(before in dependencies[after] for before, after in pairwise(path))


@given(any_graph)
def test_a_graph_is_refused_exactly_when_it_has_a_cycle(dependencies):
    cycle = find_cycle(dependencies)

    if cycle is None:
        assert len(Graph(dependencies).order) == len(dependencies)
    else:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(later in dependencies[step] for step, later in pairwise(cycle))
        with pytest.raises(InputError):
            Graph(dependencies)
