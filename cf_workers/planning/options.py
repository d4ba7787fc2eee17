"""What may a caller set for what is executed?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError

from cf_workers.errors import InputError
from cf_workers.wire import Payload
from cf_workers.workflows.spec import Lane


class ExecutionOptions(Payload):
    """What a caller may set for one execution; `None` means the agent's own setting, then the default."""

    model: str | None = None
    complexity: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    timeout_seconds: float | None = Field(None, gt=0)
    max_retries: int | None = Field(None, ge=0)
    cacheable: bool | None = None
    lane: Lane | None = None
    fail_fast: bool = False
    max_cost_usd: float | None = Field(None, ge=0)


@dataclass(frozen=True)
class WorkflowOptions:
    """What a caller may set for one run.

    Args:
        sequential: one step after the other, in the order of the graph.
        pass_output: whether steps see the outputs of others.
        lane: of steps that name none.
        fail_fast: steps fail where they would have to wait for admission: breaker, limits, budgets.
        max_cost_usd: the run's own budget; the project's for runs if not given.
    """

    sequential: bool = False
    pass_output: bool = True
    lane: Lane = "interactive"
    fail_fast: bool = False
    max_cost_usd: float | None = None


def read_options(options: Mapping[str, Any]) -> ExecutionOptions:
    """Check what a caller sets for one execution.

    Raises:
        InputError: an option is unknown or has a value that cannot be used.
    """
    try:
        return ExecutionOptions.model_validate(dict(options))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        known = ", ".join(ExecutionOptions.model_fields)
        raise InputError(
            f"options of an execution cannot be used: {wrong}", {"hint": f"options are {known}"}
        ) from None


def check_timeout(seconds: float | None) -> None:
    """Refuse a time-out that would end a run before it begins.

    Raises:
        InputError: it is not above 0.
    """
    if seconds is not None and not seconds > 0:
        raise InputError(
            f"a time-out of {seconds!r} seconds cannot be kept", {"hint": "give a number above 0"}
        )
