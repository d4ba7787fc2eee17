"""What does a caller get back?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cf_workers.errors import CfWorkersError


@dataclass(frozen=True)
class ExecutionResult:
    """The answer of one agent.

    Args:
        metadata: as `execute --json` prints it: model, tokens, time, cost, attempts.
        document: the whole of what `execute --json` prints.
    """

    id: str
    agent_name: str
    output: str
    metadata: Mapping[str, Any]
    document: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> ExecutionResult:
        metadata = document["metadata"]
        output = document["output"] or ""
        return cls(metadata["execution_id"], document["agent_name"], output, metadata, document)


@dataclass(frozen=True)
class Outcome:
    """What became of one of many executions: a result, or the error that it ended with."""

    result: ExecutionResult | None = None
    error: CfWorkersError | None = None

    @classmethod
    def of(cls, wait: Callable[[], ExecutionResult]) -> Outcome:
        """What waiting for an execution came to."""
        try:
            return cls(result=wait())
        except CfWorkersError as error:
            return cls(error=error)

    @property
    def ok(self) -> bool:
        return self.error is None

    def unwrap(self) -> ExecutionResult:
        """The result.

        Raises:
            CfWorkersError: the error, if there is one.
        """
        if self.error is not None:
            raise self.error
        assert self.result is not None  # noqa: S101
        return self.result


@dataclass(frozen=True)
class StepResult:
    """What became of one step.

    Args:
        started_at: Unix seconds; `None` for a step that never ran.
        estimated_cost: US dollars; `None` when the price is unknown.
    """

    status: str
    agent: str
    output: str | None
    error: Mapping[str, Any] | None
    started_at: float | None
    finished_at: float | None
    cached: bool
    attempts: int
    estimated_cost: float | None

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> StepResult:
        return cls(**{name: result[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class RunResult:
    """What became of a run that has ended.

    Args:
        execution_order: the steps in the order in which they ended.
        estimated_cost: US dollars; `None` when a price is unknown.
        document: the whole of what `run-workflow --json` prints.
    """

    run_id: str
    workflow_name: str
    status: str
    results: Mapping[str, StepResult]
    execution_order: list[str]
    total_time_seconds: float
    estimated_cost: float | None
    document: Mapping[str, Any]

    @property
    def success(self) -> bool:
        return self.status == "succeeded"

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> RunResult:
        steps = {step: StepResult.of(result) for step, result in document["results"].items()}
        plain = (
            "run_id",
            "workflow_name",
            "status",
            "execution_order",
            "total_time_seconds",
            "estimated_cost",
        )
        return cls(results=steps, document=document, **{name: document[name] for name in plain})
