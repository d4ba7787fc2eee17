"""How are answers put into the cache before anybody asks for them?"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cf_workers.answers import is_cacheable
from cf_workers.client.handles import ExecutionHandle
from cf_workers.errors import CfWorkersError, InputError
from cf_workers.planning import read_options

if TYPE_CHECKING:
    from cf_workers.client.client import Client

_UNDER_WAY = 200
"""Executions enqueued at a time: a long file does not fill the queue that others wait in."""


@dataclass(frozen=True)
class Line:
    """One call that is to be known afterwards.

    Args:
        number: of its line in the file, from 1.
        options: as for `Client.submit`.
    """

    number: int
    agent: str
    task: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Warmed:
    """What became of one line.

    Args:
        called: the provider was asked; otherwise the answer was known.
        cost_usd: of the call; `None`: unknown.
    """

    line: Line
    called: bool = False
    cost_usd: float | None = 0.0
    error: CfWorkersError | None = None


def read_lines(client: Client, texts: Iterable[str]) -> list[Line]:
    """The calls in a file of one `{"agent", "task", …}` a line; empty lines are passed over.

    Raises:
        InputError: lines cannot be used, all of which are named, or there are none.
    """
    if not client.settings.cache.enabled or not client.project.cache.enabled:
        raise InputError("the cache is off: nothing would be kept", {"hint": "set cache.enabled to true"})
    lines: list[Line] = []
    problems: list[dict[str, Any]] = []
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            lines.append(_line(client, number, text))
        except InputError as error:
            problems.append({"line": number, "message": error.message, "hint": error.hint})
    if problems:
        wrong = ", ".join(str(problem["line"]) for problem in problems[:20])
        raise InputError(f"{len(problems)} lines cannot be used: {wrong}", {"problems": problems})
    if not lines:
        raise InputError("there is no call in it", {"hint": 'write one {"agent": …, "task": …} a line'})
    return lines


def unknown(client: Client, lines: Iterable[Line]) -> list[Line]:
    """The lines whose answers are not in the cache."""
    return [line for line in lines if not client.knows(line.agent, line.task, **line.options)]


def warm(client: Client, lines: Iterable[Line], told: Callable[[Warmed], object]) -> None:
    """Have every line answered; answers that are known cost nothing.

    Args:
        told: of each line, in order, once it has been answered or has failed.
    """
    under_way: deque[tuple[Line, ExecutionHandle | CfWorkersError]] = deque()
    for line in lines:
        if len(under_way) >= _UNDER_WAY:
            told(_ended(*under_way.popleft()))
        under_way.append((line, _submitted(client, line)))
    while under_way:
        told(_ended(*under_way.popleft()))


def _line(client: Client, number: int, text: str) -> Line:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(
            f"is no object but {type(found).__name__}", {"hint": 'write {"agent": …, "task": …}'}
        )
    agent, task = found.pop("agent", None), found.pop("task", None)
    if not isinstance(agent, str) or not isinstance(task, str):
        raise InputError("needs an agent and a task, both text", {"hint": 'write {"agent": …, "task": …}'})
    planned = client.check_execution(agent, task, read_options(found))
    if not is_cacheable(client.context, planned.plan.steps[0]):
        raise InputError(f"answers of agent {agent!r} are not kept", {"hint": "see cache.exclude_agents"})
    return Line(number, agent, task, found)


def _submitted(client: Client, line: Line) -> ExecutionHandle | CfWorkersError:
    try:
        return client.submit(line.agent, line.task, **line.options)
    except CfWorkersError as error:
        return error


def _ended(line: Line, handle: ExecutionHandle | CfWorkersError) -> Warmed:
    if isinstance(handle, CfWorkersError):
        return Warmed(line, error=handle)
    try:
        metadata = handle.result().metadata
    except CfWorkersError as error:
        return Warmed(line, called=True, cost_usd=None, error=error)
    return Warmed(line, called=not metadata["cached"], cost_usd=metadata["estimated_cost"])
