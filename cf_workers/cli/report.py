"""How does a run read, once it is over or on the way?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from cf_workers.cli.output import cost_text, counted, seconds_text, status_text, styled, tokens_text

SHORT_LINES = 8


def run_report(document: Mapping[str, Any], *, short: bool = False) -> None:
    """Print the steps in the order in which they ended, then those that have not, then the whole.

    Args:
        short: only the beginning of each output.
    """
    results = document["results"]
    ended = document["execution_order"]
    for step in [*ended, *(step for step in results if step not in set(ended))]:
        _step_report(step, results[step], short=short)
    click.echo(_summary(document))


def _step_report(step: str, result: Mapping[str, Any], *, short: bool) -> None:
    agent = f" (agent {result['agent']})" if result["agent"] != step else ""
    waits = f" ({result['waits_for']})" if result.get("waits_for") else ""
    status = f"{status_text(result['status'])}{waits}"
    click.echo(f"{styled(f'== {step}', bold=True)}{agent}: {status}{_spent(result)}")
    if error := result["error"]:
        click.echo(f"{styled('error:', fg='red')} {error['message']}")
        if error.get("hint"):
            click.echo(f"{styled('hint:', fg='cyan')} {error['hint']}")
    if result["output"]:
        click.echo(_shortened(result["output"]) if short else result["output"])
    click.echo()


def _spent(result: Mapping[str, Any]) -> str:
    if result["started_at"] is None:
        return ""
    took = (result["finished_at"] or time.time()) - result["started_at"]
    parts = [f" in {seconds_text(took)}"]
    if result["attempts"] > 1:
        parts.append(counted(result["attempts"], "attempt"))
    if result["cached"]:
        parts.append("from the cache")
    if result["finished_at"] is not None:
        parts.append(cost_text(result["estimated_cost"]))
    if result["metadata"].get("truncated"):
        parts.append("cut off at its token limit")
    return ", ".join(parts)


def _shortened(text: str) -> str:
    lines = text.strip().splitlines()
    more = len(lines) - SHORT_LINES
    rest = [styled(f"  … {counted(more, 'more line')}", dim=True)] if more > 0 else []
    return "\n".join([*(f"  {line}".rstrip() for line in lines[:SHORT_LINES]), *rest])


def _summary(document: Mapping[str, Any]) -> str:
    total = document["steps_total"]
    took = document["total_time_seconds"]
    parts = [
        f"{total - document['steps_left']} of {counted(total, 'step')} ended",
        seconds_text(took) if took is not None else None,
        tokens_text(document["input_tokens"] + document["output_tokens"]),
        cost_text(document["estimated_cost"]),
    ]
    lost = document["lost_calls"]
    if lost:
        parts.append(f"{counted(lost, 'call')} perhaps paid without an answer")
    text = ", ".join(part for part in parts if part)
    reason = " (time-out)" if document["stopping"] == "timeout" else ""
    return (
        f"{styled(document['workflow_name'], bold=True)} {status_text(document['status'])}{reason}: {text}\n"
        f"run {document['run_id']}"
    )


def timing(document: Mapping[str, Any]) -> dict[str, Any]:
    """How long a run took, against what its graph allows and what a queue of one would take."""
    from cf_workers.workflows.graph import Graph

    results = document["results"]
    seconds = {
        step: result["finished_at"] - result["started_at"]
        for step, result in results.items()
        if result["started_at"] is not None and result["finished_at"] is not None
    }
    graph = Graph({step: result["dependencies"] for step, result in results.items()})
    path, longest = graph.critical_path(seconds)
    makespan = document["total_time_seconds"]
    return {
        "makespan_seconds": makespan,
        "critical_path": path,
        "critical_path_seconds": longest,
        "sum_seconds": sum(seconds.values()),
        "makespan_over_critical_path": makespan / longest if makespan is not None and longest else None,
    }
