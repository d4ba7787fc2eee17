"""What is told of a run, of a step, of an execution? The documents that commands print as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cf_workers.money import usd
from cf_workers.workflows.outcome import ENDED, FINAL
from cf_workers.workflows.plan import PlannedStep


def step_document(
    step: PlannedStep,
    state: Mapping[str, Any],
    result: Mapping[str, Any],
    output: str | None,
    *,
    run_ended: bool,
) -> dict[str, Any]:
    """The document of one step.

    Args:
        state: as the record keeps it: status, times, attempts.
        result: the outcome's; empty for a step that has not ended.
    """
    status = state.get("s", "waiting")
    if run_ended and status not in ENDED:  # it never began, or waited for its next attempt
        status = "cancelled"
    return {
        "status": status,
        "waits_for": state.get("y") if status in {"parked", "retrying"} else None,
        "agent": step.agent,
        "output": output,
        "error": result.get("error"),
        "started_at": _seconds(state.get("st")),
        "finished_at": _seconds(state.get("fin")),
        "cached": bool(result.get("cached", False)),
        "attempts": int(state.get("a", 0)),
        "deaths": int(state.get("d", 0)),
        "estimated_cost": result.get("estimated_cost"),
        "model": result.get("model", step.model),
        "usage": result.get("usage"),
        "dependencies": list(step.dependencies),
        "metadata": {k: v for k, v in result.items() if k not in {"error", "usage"}},
    }


def _prompt_cache(steps: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the provider's prompt cache did for the calls of a run.

    `cache_read_ratio` is the share of all prompt tokens that were read from it; the saving is `None` when a
    price is not known.
    """
    asked = [step for step in steps if step["usage"] and not step["cached"]]
    read = sum(step["usage"].get("cache_read_input_tokens", 0) for step in asked)
    written = sum(step["usage"].get("cache_creation_input_tokens", 0) for step in asked)
    total = read + written + sum(step["usage"].get("input_tokens", 0) for step in asked)
    saved = [step["metadata"].get("prompt_cache_saved_cost", 0.0) for step in asked]
    return {
        "cache_read_tokens": read,
        "cache_write_tokens": written,
        "cache_read_ratio": read / total if total else 0.0,
        "prompt_cache_saved_cost": None if None in saved else round(sum(saved), 9),
    }


def run_document(
    run: str, record: Mapping[str, str], steps: dict[str, dict[str, Any]], order: list[str]
) -> dict[str, Any]:
    started, finished = _seconds(record.get("started_at")), _seconds(record.get("finished_at"))
    status = told_status(record)
    return {
        "success": status == "succeeded",
        "run_id": run,
        "kind": record["kind"],
        "workflow_name": record["name"],
        "status": status,
        "stopping": record.get("stopping") or None,
        "attempt": int(record["attempt"]),
        "results": steps,
        "execution_order": order,
        "steps_total": int(record["total"]),
        "steps_left": int(record["left"]),
        "steps_running": int(record.get("running", 0)),
        "steps_parked": 0 if status in FINAL else int(record.get("parked") or 0),
        "created_at": _seconds(record.get("created_at")),
        "started_at": started,
        "finished_at": finished,
        "total_time_seconds": (finished - _seconds_or(record, finished)) if finished is not None else None,
        "input_tokens": int(record.get("input_tokens", 0)),
        "output_tokens": int(record.get("output_tokens", 0)),
        "estimated_cost": _cost_usd(record),
        "saved_cost": usd(int(record.get("saved_nanos", 0))),
        **_prompt_cache(steps.values()),
        "lost_calls": int(record.get("lost_calls", 0)),
    }


def execution_document(run: str, status: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """The document of one execution.

    Args:
        result: the step's entry in a run document.
    """
    usage = result["usage"] or {}
    written = usage.get("cache_creation_input_tokens", 0) + usage.get("cache_read_input_tokens", 0)
    input_tokens = usage.get("input_tokens", 0) + written
    output_tokens = usage.get("output_tokens", 0)
    metadata = result["metadata"]
    return {
        "success": status == "succeeded",
        "status": status,
        "agent_name": result["agent"],
        "output": result["output"],
        "errors": [result["error"]["message"]] if result["error"] else [],
        "metadata": {
            "execution_id": run,
            "model": result["model"],
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "tokens_used": input_tokens + output_tokens,
            "usage": usage or None,
            "execution_time_ms": metadata.get("execution_time_ms"),
            "cached": result["cached"],
            "cache_age_seconds": metadata.get("cache_age_seconds"),
            "stale": metadata.get("stale", False),
            "cache_key": metadata.get("cache_key"),
            "saved_cost": metadata.get("saved_cost"),
            "estimated_cost": result["estimated_cost"],
            "attempts": result["attempts"],
            "stop_reason": metadata.get("stop_reason"),
            "truncated": metadata.get("truncated", False),
            "request_id": metadata.get("request_id"),
            "error": result["error"],
        },
    }


def told_status(record: Mapping[str, Any]) -> str:
    """The status as it is told: a run that only waits to be let in is parked."""
    waits = int(record.get("parked") or 0) > 0 and int(record.get("running") or 0) == 0
    if record["status"] == "running" and waits:
        return "parked"
    return str(record["status"])


def _cost_usd(record: Mapping[str, str]) -> float | None:
    if int(record.get("unpriced", 0)):
        return None
    return usd(int(record.get("cost_nanos", 0)))


def _seconds(value: Any) -> float | None:
    return None if value in (None, "") else float(value)


def _seconds_or(record: Mapping[str, str], default: float) -> float:
    """When the present attempt of the run began."""
    return float(record.get("reopened_at") or record.get("created_at") or default)
