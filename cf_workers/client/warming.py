"""How are answers put into the cache before anybody asks for them, and how is that followed to the end?"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cf_workers.client.handles import ExecutionHandle
from cf_workers.errors import CfWorkersError
from cf_workers.warming import Line

if TYPE_CHECKING:
    from cf_workers.client.client import Client

_UNDER_WAY = 200
"""Executions enqueued at a time: a long file does not fill the queue that others wait in."""


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


def warm(
    client: Client, lines: Iterable[Line], told: Callable[[Warmed], object], *, at_once: int = _UNDER_WAY
) -> None:
    """Have every line answered; answers that are known cost nothing.

    Args:
        told: of each line, in order, once it has been answered or has failed.
        at_once: so many lines are under way.
    """
    under_way: deque[tuple[Line, ExecutionHandle | CfWorkersError]] = deque()
    for line in lines:
        if len(under_way) >= at_once:
            told(_ended(*under_way.popleft()))
        under_way.append((line, _submitted(client, line)))
    while under_way:
        told(_ended(*under_way.popleft()))


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
