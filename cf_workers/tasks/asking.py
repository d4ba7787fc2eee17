"""What does a step ask of its agent, and what becomes of the answer?"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cf_workers.agents.cancel import CancelToken
from cf_workers.agents.definition import AgentCall, AgentDefinition, DependencyOutput, Usage
from cf_workers.agents.prices import cost_nanos
from cf_workers.answers import Answer, call_for
from cf_workers.budgets import Limit
from cf_workers.errors import (
    CallTimeoutError,
    CancelledError,
    CfWorkersError,
    ExecutionError,
    StreamCutError,
    describe_error,
)
from cf_workers.money import usd
from cf_workers.tasks.answering import BatchTerms, Caller
from cf_workers.tasks.runtime import Runtime
from cf_workers.workflows.inputs import full_task
from cf_workers.workflows.outcome import Claim, Outcome
from cf_workers.workflows.plan import PlannedStep, RunHeader

_MAYBE_PAID = (CallTimeoutError, StreamCutError, CancelledError)
"""Failures after which nobody knows whether the provider billed the call."""


def ask(runtime: Runtime, header: RunHeader, step: PlannedStep, claim: Claim, token: CancelToken) -> Answer:
    """Ask the step's agent.

    Raises:
        NotNow: no call may be made now.
        ExecutionError: there is no usable reply.
        DefinitionMissingError: the agent's definition is not in the store any more.
    """
    definition = runtime.outlast("definition", lambda: runtime.agents.get(step.definition))
    call = call_of(definition, header, step, claim.outputs)
    caller = Caller(
        waiter=claim.waiter,
        holder=claim.member,
        lane=step.queue,
        tenant=runtime.keys.namespace,
        workflow=header.plan.workflow,
        cacheable=runtime.is_cacheable(step),
        fail_fast=bool(header.options.get("fail_fast")),
        run=header.run,
        alone=header.message is not None,
        limits=_limits(header, step),
        most_nanos=step.most_nanos,
        batch=_batch_terms(runtime, header, step, claim),
    )
    return runtime.answering.ask(call, caller, token)


def call_of(
    definition: AgentDefinition, header: RunHeader, step: PlannedStep, texts: Sequence[str | None]
) -> AgentCall:
    """What a step asks; the same whenever it is asked.

    Args:
        texts: outputs of its dependencies, in that order, if it sees them.
    """
    return call_for(definition, step, task=task_text(header, step), outputs=_outputs(header, step, texts))


def _batch_terms(runtime: Runtime, header: RunHeader, step: PlannedStep, claim: Claim) -> BatchTerms | None:
    """A step may wait for as long as its run's deadline leaves time for the longest path behind it."""
    policy = runtime.batch_policy
    sent_by_budget = any(limit.on_exhausted == "batch" for limit in _limits(header, step))
    if policy is None or not (step.lane in {"batch", "auto"} or sent_by_budget):
        return None
    deadline = runtime.outlast("deadline", lambda: runtime.store.deadline(header.run))
    needed = header.plan.tails[step.id] + policy.rescue_margin_seconds
    rescue_at = None if deadline is None else deadline - needed
    slack = math.inf if rescue_at is None else rescue_at - time.time()
    may_wait = {"batch": slack > 0, "auto": policy.auto_slack_seconds <= slack < math.inf}.get(
        step.lane, False
    )
    return BatchTerms(mark_of(header, claim), start=policy.enabled and may_wait, rescue_at=rescue_at)


def mark_of(header: RunHeader, claim: Claim) -> str:
    """Names a try of a step: a call that failed is not the try that follows it."""
    return f"{claim.waiter}\t{header.attempt}\t{claim.attempts}"


def _limits(header: RunHeader, step: PlannedStep) -> tuple[Limit, ...]:
    """The budgets of the run that apply to this step."""
    declared = (Limit.of_json(raw) for raw in header.options.get("budgets", ()))
    others = f"agent:{step.agent}"
    return tuple(limit for limit in declared if not limit.scope.startswith("agent:") or limit.scope == others)


def task_text(header: RunHeader, step: PlannedStep) -> str:
    """The step's own task with its inputs filled in, and the run's task; both where both are given."""
    return full_task(step.task, header.inputs, header.task)


def failed(error: CfWorkersError, step: PlannedStep, *, attempts: int) -> Outcome:
    """The outcome of a call that gave nothing usable; what it cost all the same is kept."""
    usage = _billed(error)
    cost = cost_nanos(step.model, usage) if usage else 0
    return Outcome(
        status="cancelled" if isinstance(error, CancelledError) else "failed",
        attempts=attempts,
        counts_against_run=not step.allow_failure,
        input_tokens=usage.prompt_tokens if usage else 0,
        output_tokens=usage.output_tokens if usage else 0,
        cost_nanos=cost,
        lost_calls=maybe_lost(error),
        result={
            "agent": step.agent,
            "model": step.model,
            "usage": usage.model_dump() if usage else None,
            "estimated_cost": usd(cost),
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
    return int(isinstance(error, _MAYBE_PAID) and error.details.get("sent", True))


def _billed(error: CfWorkersError) -> Usage | None:
    usage: Mapping[str, Any] | None = (
        error.details.get("usage") if isinstance(error, ExecutionError) else None
    )
    return Usage.model_validate(usage) if usage else None


def _outputs(header: RunHeader, step: PlannedStep, texts: Sequence[str | None]) -> list[DependencyOutput]:
    if previous := header.options.get("previous"):
        return [DependencyOutput(f"previous-{n}", p["agent"], p["output"]) for n, p in enumerate(previous, 1)]
    if not texts:
        return []
    agents = header.plan.by_id
    return [
        DependencyOutput(name, agents[name].agent, text)
        for name, text in zip(step.dependencies, texts, strict=True)
        if text is not None
    ]
