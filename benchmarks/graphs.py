"""Which graphs are hard to schedule, and how fast could each of them possibly be run?"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

MEDIAN_SECONDS = 0.5
SIGMA = 0.6
"""Of the lognormal step times: about a sixth of the steps take longer than 0.9 s, one in forty 1.6 s."""


@dataclass(frozen=True)
class StepGraph:
    """A graph whose step times are known before it runs.

    Args:
        dependencies: of each step, in an order in which dependencies come first.
        seconds: how long each step takes.
    """

    name: str
    dependencies: Mapping[str, tuple[str, ...]]
    seconds: Mapping[str, float]

    def critical_path(self) -> float:
        """Seconds of the longest path: no schedule with any number of workers is faster."""
        ends: dict[str, float] = {}
        for step, dependencies in self.dependencies.items():
            ends[step] = self.seconds[step] + max((ends[name] for name in dependencies), default=0.0)
        return max(ends.values(), default=0.0)

    def levels(self) -> list[list[str]]:
        """The steps by their distance from the roots: what a scheduler in waves runs together."""
        level: dict[str, int] = {}
        for step, dependencies in self.dependencies.items():
            level[step] = max((level[name] + 1 for name in dependencies), default=0)
        waves: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
        for step, number in level.items():
            waves[number].append(step)
        return waves

    def with_barriers(self) -> StepGraph:
        """The same steps in waves: each waits for the whole wave before it."""
        waves = self.levels()
        before = [(), *waves[:-1]]
        barred = {
            step: tuple(previous) for wave, previous in zip(waves, before, strict=True) for step in wave
        }
        return replace(self, name=f"{self.name}, in waves", dependencies=barred)


def lognormal(rng: random.Random, median: float = MEDIAN_SECONDS, sigma: float = SIGMA) -> float:
    """A step time, rounded to the millisecond as the stand-in is told it."""
    return round(median * rng.lognormvariate(0, sigma), 3)


def n_shape(rng: random.Random) -> StepGraph:
    """Two roots, two leaves, three edges: d waits for b alone, and waves make it wait for a too."""
    edges = {"a": (), "b": (), "c": ("a", "b"), "d": ("b",)}
    seconds = {"a": 2.0, "b": 0.5, "c": 0.5, "d": 2.0}
    return StepGraph("N-shape", edges, {step: _jitter(rng, seconds[step]) for step in edges})


def shared_join(rng: random.Random) -> StepGraph:
    """One step feeds two joins: neither may wait for the other's other half."""
    edges = {"a": (), "b": (), "c": (), "d": ("a", "b"), "e": ("b", "c")}
    seconds = {"a": 0.3, "b": 0.5, "c": 2.0, "d": 1.9, "e": 0.3}
    return StepGraph("two joins share a step", edges, {step: _jitter(rng, seconds[step]) for step in edges})


def ragged(rng: random.Random) -> StepGraph:
    """Chains of one to six steps, joined pairwise and then all together."""
    edges: dict[str, tuple[str, ...]] = {}
    ends = []
    for length in range(1, 7):
        for position in range(length):
            edges[f"c{length}-{position}"] = (f"c{length}-{position - 1}",) if position else ()
        ends.append(f"c{length}-{length - 1}")
    for left, right in pairwise(ends):
        edges[f"join-{left}-{right}"] = (left, right)
    edges["last"] = tuple(step for step in edges if step.startswith("join-"))
    return StepGraph("ragged chains", edges, {step: lognormal(rng) for step in edges})


def fan(rng: random.Random, width: int = 50) -> StepGraph:
    """One step, then `width` at once, then one."""
    middle = [f"m{number}" for number in range(width)]
    edges = {"first": (), **dict.fromkeys(middle, ("first",)), "last": tuple(middle)}
    return StepGraph(f"1 -> {width} -> 1", edges, {step: lognormal(rng) for step in edges})


def random_graph(rng: random.Random, number: int, steps: int = 24) -> StepGraph:
    """Each step but the first few waits for one to three of the eight before it."""
    names = [f"s{index:02}" for index in range(steps)]
    edges: dict[str, tuple[str, ...]] = {}
    for index, name in enumerate(names):
        near = names[max(0, index - 8) : index]
        wanted = rng.choice((1, 1, 2, 3)) if index >= 3 else 0
        edges[name] = tuple(rng.sample(near, min(wanted, len(near))))
    return StepGraph(f"random {number}", edges, {name: lognormal(rng) for name in names})


def chain(steps: int) -> StepGraph:
    """One after the other, in no time."""
    edges = {f"s{i}": ((f"s{i - 1}",) if i else ()) for i in range(steps)}
    return StepGraph(f"chain of {steps}", edges, dict.fromkeys(edges, 0.0))


def fan_out(steps: int) -> StepGraph:
    """One step, then all others at once, in no time."""
    edges = {"first": (), **{f"s{i}": ("first",) for i in range(steps - 1)}}
    return StepGraph(f"fan-out 1 -> {steps - 1}", edges, dict.fromkeys(edges, 0.0))


def fan_in(steps: int) -> StepGraph:
    """All but one at once, then one that waits for all of them, in no time."""
    roots = {f"s{i}": () for i in range(steps - 1)}
    edges: dict[str, tuple[str, ...]] = {**roots, "last": tuple(roots)}
    return StepGraph(f"fan-in {steps - 1} -> 1", edges, dict.fromkeys(edges, 0.0))


def _jitter(rng: random.Random, seconds: float) -> float:
    return round(seconds * rng.uniform(0.95, 1.05), 3)
