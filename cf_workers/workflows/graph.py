"""Which step comes after which, what is a cycle, and what is the longest path? Pure and iterative."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from cf_workers.errors import InputError


class Graph:
    """An acyclic graph of steps, each with the steps it depends on; it never changes.

    Everything it answers follows the order in which the steps were declared.

    Args:
        dependencies: step to the steps it waits for. A repeated dependency counts once.

    Raises:
        InputError: a dependency is not a step, or steps wait for each other.
    """

    def __init__(self, dependencies: Mapping[str, Sequence[str]]) -> None:
        self._dependencies = {step: tuple(dict.fromkeys(needed)) for step, needed in dependencies.items()}
        self._successors = _successors(self._dependencies)
        self._order = _topological_order(self._dependencies, self._successors)

    def __len__(self) -> int:
        return len(self._dependencies)

    def __contains__(self, step: object) -> bool:
        return step in self._dependencies

    def __iter__(self) -> Iterator[str]:
        """The steps, in declared order."""
        return iter(self._dependencies)

    def dependencies(self, step: str) -> tuple[str, ...]:
        """The steps that this one waits for, as it names them.

        Raises:
            KeyError: there is no such step.
        """
        return self._dependencies[step]

    def successors(self, step: str) -> tuple[str, ...]:
        """The steps that wait for this one, in declared order.

        Raises:
            KeyError: there is no such step.
        """
        return self._successors[step]

    @property
    def order(self) -> tuple[str, ...]:
        """Every step after all its dependencies; the declared order wherever these leave a choice."""
        return self._order

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """The steps that wait for nothing."""
        return tuple(step for step, needed in self._dependencies.items() if not needed)

    @cached_property
    def leaves(self) -> tuple[str, ...]:
        """The steps that nothing waits for."""
        return tuple(step for step in self._dependencies if not self._successors[step])

    def critical_path(self, seconds: Mapping[str, float]) -> tuple[list[str], float]:
        """The chain of steps that no number of workers can shorten, and how long it takes.

        Args:
            seconds: how long each step takes; a step that is not named takes none. Of equally long
                chains the one of more steps is given, so that an empty mapping finds the deepest.
        """
        longest: dict[str, tuple[float, int]] = {}
        before: dict[str, str | None] = {}
        for step in self._order:
            previous = max(self._dependencies[step], key=longest.__getitem__, default=None)
            start, depth = (0.0, 0) if previous is None else longest[previous]
            longest[step] = (start + seconds.get(step, 0.0), depth + 1)
            before[step] = previous
        last = max(self._order, key=longest.__getitem__, default=None)
        return _walk_back(last, before), 0.0 if last is None else longest[last][0]


def find_cycle(dependencies: Mapping[str, Sequence[str]]) -> list[str] | None:
    """Steps that wait for each other, each for the next one, ending where it began; `None` if there are none.

    Dependencies that are not steps are passed over.
    """
    finished: set[str] = set()
    for start in dependencies:
        if start not in finished:
            cycle = _find_cycle_from(start, dependencies, finished)
            if cycle:
                return cycle
    return None


def _find_cycle_from(
    start: str, dependencies: Mapping[str, Sequence[str]], finished: set[str]
) -> list[str] | None:
    """Search depth first from one step, with a stack of our own: chains are longer than Python's."""
    path: dict[str, None] = {start: None}  # ordered, and asked for membership at every step
    pending = [iter(dependencies[start])]
    while pending:
        step = next(pending[-1], None)
        if step is None:
            pending.pop()
            finished.add(path.popitem()[0])
        elif step in path:
            chain = list(path)
            return [*chain[chain.index(step) :], step]
        elif step not in finished and step in dependencies:
            path[step] = None
            pending.append(iter(dependencies[step]))
    return None


def _successors(dependencies: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    successors: dict[str, list[str]] = {step: [] for step in dependencies}
    for step, needed in dependencies.items():
        for dependency in needed:
            if dependency not in successors:
                raise InputError(f"step {step!r} depends on {dependency!r}, which is not a step")
            successors[dependency].append(step)
    return {step: tuple(after) for step, after in successors.items()}


def _topological_order(
    dependencies: Mapping[str, tuple[str, ...]], successors: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Kahn's algorithm with a heap of declared positions, which makes the order unique."""
    steps = list(dependencies)
    position = {step: index for index, step in enumerate(steps)}
    waiting_for = {step: len(needed) for step, needed in dependencies.items()}
    ready = [position[step] for step in steps if not waiting_for[step]]
    order: list[str] = []
    while ready:
        step = steps[heapq.heappop(ready)]
        order.append(step)
        for after in successors[step]:
            waiting_for[after] -= 1
            if not waiting_for[after]:
                heapq.heappush(ready, position[after])
    if len(order) < len(steps):
        cycle = find_cycle(dependencies) or []
        raise InputError(f"these steps wait for each other: {' -> '.join(cycle)}", {"cycle": cycle})
    return tuple(order)


def _walk_back(last: str | None, before: Mapping[str, str | None]) -> list[str]:
    path: list[str] = []
    while last is not None:
        path.append(last)
        last = before[last]
    path.reverse()
    return path
