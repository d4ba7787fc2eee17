"""What does a step ask of its agent, and what becomes of the answer?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentDefinition, DependencyOutput, Usage
from cf_workers.agents.prices import cost_usd
from cf_workers.errors import (
    CallTimeoutError,
    CancelledError,
    CfWorkersError,
    ExecutionError,
    StreamCutError,
    describe_error,
)
from cf_workers.tasks.answering import Answer, Caller
from cf_workers.tasks.runtime import Runtime
from cf_workers.workflows.inputs import fill_inputs
from cf_workers.workflows.plan import PlannedStep, RunHeader
from cf_workers.workflows.record import Claim, Outcome

_NANOS = 1_000_000_000
_MAYBE_PAID = (CallTimeoutError, StreamCutError, CancelledError)
"""Failures after which nobody knows whether the provider billed the call."""


def ask(runtime: Runtime, header: RunHeader, step: PlannedStep, claim: Claim, token: CancelToken) -> Answer:
    """Ask the step's agent.

    Raises:
        NotNow: no call may be made now.
        ExecutionError: there is no usable reply.
        DefinitionMissingError: the agent's definition is not in the store any more.
    """
    call = call_for(
        runtime.outlast("definition", lambda: runtime.agents.get(step.definition)),
        step,
        task=task_text(header, step),
        outputs=_outputs(header, step, claim),
    )
    caller = Caller(
        waiter=claim.waiter,
        holder=claim.member,
        lane=step.lane,
        tenant=runtime.keys.namespace,
        workflow=header.plan.workflow,
        cacheable=runtime.is_cacheable(step),
        fail_fast=bool(header.options.get("fail_fast")),
    )
    return runtime.answering.ask(call, caller, token)


def call_for(
    definition: AgentDefinition, step: PlannedStep, *, task: str, outputs: Sequence[DependencyOutput]
) -> AgentCall:
    """The complete request of a step."""
    return AgentCall(
        agent=definition,
        task=task,
        model=step.model,
        max_tokens=step.max_tokens,
        timeout_seconds=step.timeout_seconds,
        outputs=tuple(outputs),
    )


def task_text(header: RunHeader, step: PlannedStep) -> str:
    """The step's own task with its inputs filled in, and the run's task; both where both are given."""
    own = fill_inputs(step.task, header.inputs) if step.task else None
    return "\n\n".join(text for text in (own, header.task) if text)


def succeeded(answer: Answer, step: PlannedStep, *, attempts: int) -> Outcome:
    """The outcome of an answered call; one that the cache answered cost nothing and used no tokens."""
    reply = answer.reply
    cost = Decimal(0) if answer.cached else cost_usd(reply.model, reply.usage)
    usage = Usage() if answer.cached else reply.usage
    return Outcome(
        status="succeeded",
        attempts=attempts,
        output=reply.output,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.output_tokens,
        saved_nanos=answer.saved_nanos or 0,
        cost_nanos=None if cost is None else int(cost * _NANOS),
        result={
            "agent": step.agent,
            "model": reply.model,
            "usage": reply.usage.model_dump(),
            "stop_reason": reply.stop_reason,
            "truncated": reply.truncated,
            "request_id": reply.request_id,
            "execution_time_ms": round(answer.seconds * 1000, 1),
            "cached": answer.cached,
            "cache_age_seconds": answer.cache_age_seconds,
            "stale": answer.stale,
            "saved_cost": None if answer.saved_nanos is None else answer.saved_nanos / _NANOS,
            "estimated_cost": None if cost is None else float(cost),
            "error": None,
        },
    )


def failed(error: CfWorkersError, step: PlannedStep, *, attempts: int) -> Outcome:
    """The outcome of a call that gave nothing usable; what it cost all the same is kept."""
    usage = _billed(error)
    cost = cost_usd(step.model, usage) if usage else None
    return Outcome(
        status="cancelled" if isinstance(error, CancelledError) else "failed",
        attempts=attempts,
        counts_against_run=not step.allow_failure,
        input_tokens=usage.prompt_tokens if usage else 0,
        output_tokens=usage.output_tokens if usage else 0,
        cost_nanos=int(cost * _NANOS) if cost is not None else (None if usage else 0),
        lost_calls=maybe_lost(error),
        result={
            "agent": step.agent,
            "model": step.model,
            "usage": usage.model_dump() if usage else None,
            "estimated_cost": float(cost) if cost is not None else (None if usage else 0.0),
            "error": describe_error(error),
        },
    )


def not_run(status: str, step: PlannedStep, reason: str, *, attempts: int) -> Outcome:
    """The outcome of a step that was skipped or cancelled before a call was made."""
    return Outcome(
        status="skipped" if status == "skip" else "cancelled",
        attempts=attempts,
        result={"agent": step.agent, "error": {"type": status, "message": reason}, "estimated_cost": 0.0},
    )


def withdrawn(step: PlannedStep, *, attempts: int) -> Outcome:
    """The outcome of a step whose task was revoked before a call was made."""
    return replace(
        not_run("cancel", step, "its task was revoked", attempts=attempts),
        counts_against_run=not step.allow_failure,
    )


def maybe_lost(error: CfWorkersError) -> int:
    """How many calls may have been paid for nothing."""
    return int(isinstance(error, _MAYBE_PAID))


def _billed(error: CfWorkersError) -> Usage | None:
    usage: Mapping[str, Any] | None = (
        error.details.get("usage") if isinstance(error, ExecutionError) else None
    )
    return Usage.model_validate(usage) if usage else None


def _outputs(header: RunHeader, step: PlannedStep, claim: Claim) -> list[DependencyOutput]:
    if previous := header.options.get("previous"):
        return [DependencyOutput(f"previous-{n}", p["agent"], p["output"]) for n, p in enumerate(previous, 1)]
    if not claim.outputs:
        return []
    agents = header.plan.by_id
    return [
        DependencyOutput(name, agents[name].agent, text)
        for name, text in zip(step.dependencies, claim.outputs, strict=True)
        if text is not None
    ]
