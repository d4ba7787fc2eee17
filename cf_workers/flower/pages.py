"""What do the pages of runs say? Plain values, which the templates escape; nothing of prompts and outputs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from cf_workers.flower.drawing import Drawing, draw
from cf_workers.workflows.explaining import Wait
from cf_workers.workflows.graph import Graph
from cf_workers.workflows.outcome import FINAL
from cf_workers.workflows.plan import FINISH

_BADGES = {
    "succeeded": "text-bg-success",
    "failed": "text-bg-danger",
    "running": "task-state-started",
    "parked": "text-bg-warning",
    "retrying": "text-bg-warning",
}
_OTHER = "text-bg-secondary"
_TOKENS = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
)
_MOST_CHARS = 500
_NEVER_RAN = frozenset({"waiting", "skipped"})


@dataclass(frozen=True)
class RunRow:
    """A run in a line.

    Args:
        what: the workflow or the agent.
        badge: Flower's class for the status.
        seconds: how long it took, or has been taking.
    """

    id: str
    kind: str
    what: str
    status: str
    badge: str
    ended: int
    total: int
    created: str
    seconds: float | None
    tokens: int
    cost: str

    @property
    def live(self) -> bool:
        """Whether it may still change."""
        return self.status not in FINAL

    @property
    def percent(self) -> int:
        return 100 * self.ended // self.total if self.total else 100


@dataclass(frozen=True)
class RunsPage:
    """A page of the list.

    Args:
        number: from 1.
        total: runs on all pages.
    """

    rows: tuple[RunRow, ...]
    number: int
    pages: int
    total: int


@dataclass(frozen=True)
class StepRow:
    """A step in a line.

    Args:
        cached: whether it was answered without a call.
        note: what it waits for, or why it failed.
    """

    id: str
    agent: str
    status: str
    badge: str
    attempts: int
    seconds: float | None
    tokens: int
    cost: str
    cached: bool
    note: str

    @property
    def shown(self) -> str:
        return f"{self.status}, from the cache" if self.cached else self.status


@dataclass(frozen=True)
class RunPage:
    """A run with its steps.

    Args:
        note: what the run itself waits for, or why it stops.
        drawing: `None` where there is nothing to draw, or too much.
    """

    run: RunRow
    steps: tuple[StepRow, ...]
    note: str
    lost_calls: int
    saved: str
    drawing: Drawing | None

    @cached_property
    def by_id(self) -> Mapping[str, StepRow]:
        return {step.id: step for step in self.steps}


def runs_page(documents: Sequence[Mapping[str, Any]], *, number: int, pages: int, total: int) -> RunsPage:
    """The page of runs without their steps, as `History.newest` has them."""
    now = time.time()
    return RunsPage(tuple(_run_row(one, now) for one in documents), number, pages, total)


def run_page(document: Mapping[str, Any], graph: Graph, waits: Sequence[Wait]) -> RunPage:
    """The page of one run.

    Args:
        document: of the whole run, as `History.document` has it.
        graph: its steps and what each of them waits for; empty if that is no longer known.
    """
    now = time.time()
    reasons = {wait.step: _reason(wait) for wait in waits}
    steps = tuple(
        _step_row(id, result, reasons.get(id, ""), now) for id, result in document["results"].items()
    )
    known = len(graph) == len(steps)
    return RunPage(
        run=_run_row(document, now),
        steps=steps,
        note=_note(document, reasons.get(FINISH, "")),
        lost_calls=document["lost_calls"],
        saved=_dollars(document["saved_cost"]) if document["saved_cost"] else "",
        drawing=draw(graph) if known and len(steps) > 1 else None,
    )


def _run_row(document: Mapping[str, Any], now: float) -> RunRow:
    status = str(document["status"])
    began, took = document["created_at"], document["total_time_seconds"]
    if took is None and began is not None and status not in FINAL:
        took = max(0.0, now - began)
    return RunRow(
        id=document["run_id"],
        kind=document["kind"],
        what=document["workflow_name"],
        status=status,
        badge=_BADGES.get(status, _OTHER),
        ended=document["steps_total"] - document["steps_left"],
        total=document["steps_total"],
        created=_moment(began),
        seconds=took,
        tokens=document["input_tokens"] + document["output_tokens"],
        cost=_dollars(document["estimated_cost"]),
    )


def _step_row(id: str, result: Mapping[str, Any], waits_for: str, now: float) -> StepRow:
    status = str(result["status"])
    usage = result["usage"] or {}
    ran = result["started_at"] is not None and status not in _NEVER_RAN
    error = result["error"] or {}
    failure = f"{error.get('type', 'error')}: {error.get('message', '')}" if error else ""
    return StepRow(
        id=id,
        agent=result["agent"],
        status=status,
        badge=_BADGES.get(status, _OTHER),
        attempts=result["attempts"],
        seconds=max(0.0, (result["finished_at"] or now) - result["started_at"]) if ran else None,
        tokens=sum(usage.get(kind, 0) for kind in _TOKENS),
        cost=_dollars(result["estimated_cost"]) if usage else "",
        cached=result["cached"],
        note=_clipped(waits_for or failure),
    )


def _note(document: Mapping[str, Any], waits_for: str) -> str:
    if document["stopping"] and document["status"] not in FINAL:
        return f"stopping: {document['stopping']}"
    if document["stopping"] == "timeout":
        return "stopped, since its time was over"
    return f"waits for {waits_for}" if waits_for else ""


def _reason(wait: Wait) -> str:
    if not wait.seconds:
        return wait.says
    return f"{wait.says}; for another {wait.seconds:.0f} s"


def _clipped(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[: _MOST_CHARS - 1]}…"


def _moment(at: float | None) -> str:
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _dollars(cost: float | None) -> str:
    """An amount of US dollars; unknown is not zero."""
    if cost is None:
        return "unknown"
    return "$0" if cost == 0 else f"${cost:.4f}" if cost < 1 else f"${cost:.2f}"
