"""Every error a caller of cf_workers can meet.

    CfWorkersError
    ├── InputError                 wrong usage, configuration or input; nothing was enqueued   exit 2
    │   ├── ConfigError
    │   ├── ProjectError           all problems of a project at once
    │   ├── UnknownAgentError
    │   ├── UnknownWorkflowError
    │   ├── UnknownRunError
    │   └── TaskTooLongError
    ├── UnreachableError           a server or a worker cannot be reached                      exit 3
    │   ├── ServerUnreachableError
    │   └── NoWorkerError
    ├── ExecutionError             an agent was asked and did not answer                       exit 1
    │   ├── TransientError         may pass; carries retry_after
    │   │   ├── RateLimitedError
    │   │   ├── OverloadedError
    │   │   ├── ProviderDownError
    │   │   ├── ConnectionFailedError
    │   │   ├── CallTimeoutError
    │   │   └── StreamCutError
    │   ├── PermanentError         the same call would fail again
    │   │   ├── CallRejectedError
    │   │   ├── CredentialsError
    │   │   ├── RefusedError
    │   │   └── BadReplyError
    │   ├── SpendLimitError        no money left until somebody acts
    │   ├── BudgetError            a budget of ours has no money for the call
    │   ├── CancelledError
    │   └── LostError              the worker died too often under it
    ├── RunError                   a run ended otherwise than succeeded                        exit 1
    │   ├── RunFailedError
    │   └── RunCancelledError
    ├── WaitTimeoutError           the caller stopped waiting; the work goes on                exit 1
    ├── DefinitionMissingError     what a run was pinned to is no longer in the store          exit 1
    └── WireVersionError           a message of a release this one cannot read                 exit 1

All of them are built as `Error(message, details)` from JSON values alone, so that each survives Celery's
JSON serializer and comes back as itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class CfWorkersError(Exception):
    """Something went wrong; `message` says what, to what, and `hint` what to do.

    Args:
        message: one sentence for a person.
        details: JSON values for programs; `hint` among them is shown to people as well.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message, dict(details or {}))

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def details(self) -> dict[str, Any]:
        return dict(self.args[1])

    @property
    def hint(self) -> str | None:
        return self.details.get("hint")

    def __str__(self) -> str:
        return self.message


def describe_error(error: CfWorkersError) -> dict[str, Any]:
    """An error as records and documents hold it."""
    return {**error.details, "type": type(error).__name__, "message": error.message}


def restore_error(described: Mapping[str, Any]) -> CfWorkersError:
    """The error that `describe_error` described; one of an unknown type becomes an `ExecutionError`."""
    details = dict(described)
    kind, message = details.pop("type"), details.pop("message")
    found = globals().get(kind)
    if isinstance(found, type) and issubclass(found, CfWorkersError):
        return found(message, details)
    return ExecutionError(message, details)


class InputError(CfWorkersError):
    """The input is wrong; nothing was enqueued and nothing was paid."""

    exit_code = 2


class ConfigError(InputError):
    """A setting has a value that cannot be used."""


class ProjectError(InputError):
    """A project cannot be used; `problems` lists everything that is wrong with it."""

    @property
    def problems(self) -> list[dict[str, Any]]:
        return list(self.details.get("problems", []))


class UnknownAgentError(InputError):
    """No agent of that name is in the project."""


class UnknownWorkflowError(InputError):
    """No workflow of that name is in the project."""


class UnknownRunError(InputError):
    """No run or execution of that id is in the store."""


class TaskTooLongError(InputError):
    """A task is longer than the limit."""


class UnreachableError(CfWorkersError):
    """A server or a worker cannot be reached."""

    exit_code = 3


class ServerUnreachableError(UnreachableError):
    """The Redis server or the broker does not answer."""


class NoWorkerError(UnreachableError):
    """No worker listens on the queue."""


class ExecutionError(CfWorkersError):
    """An agent was asked and gave no usable answer."""

    @property
    def status(self) -> int | None:
        """HTTP status of the provider's answer, where there was one."""
        return self.details.get("status")

    @property
    def request_id(self) -> str | None:
        return self.details.get("request_id")


class TransientError(ExecutionError):
    """The failure may pass: the same call is worth another attempt."""

    @property
    def retry_after(self) -> float | None:
        """Seconds the provider asked to wait, where it said so."""
        return self.details.get("retry_after")


class RateLimitedError(TransientError):
    """The provider's rate limit refused the call (HTTP 429)."""


class OverloadedError(TransientError):
    """The provider is overloaded (HTTP 529)."""


class ProviderDownError(TransientError):
    """The provider failed (HTTP 5xx, 408 or 409)."""


class ConnectionFailedError(TransientError):
    """The provider could not be reached; the call may have been billed all the same."""


class CallTimeoutError(TransientError):
    """The call took longer than its time-out; it may have been billed all the same."""


class StreamCutError(TransientError):
    """The reply ended before it was complete."""


class PermanentError(ExecutionError):
    """The same call would fail again."""


class CallRejectedError(PermanentError):
    """The provider rejected the request as it is (HTTP 4xx)."""


class CredentialsError(PermanentError):
    """The provider does not accept the credentials (HTTP 401, 402 or 403), or there are none."""


class RefusedError(PermanentError):
    """The model refused to answer."""


class BadReplyError(PermanentError):
    """The reply cannot be used, for example because it does not fit the output schema."""


class SpendLimitError(ExecutionError):
    """A spend limit is reached: no call succeeds until it is raised or the period ends."""


class BudgetError(ExecutionError):
    """A budget has no money left for the call, or cannot hold for it; nothing was sent."""


class CancelledError(ExecutionError):
    """The execution was cancelled."""


class LostError(ExecutionError):
    """Every worker that took this on died under it."""


class RunError(CfWorkersError):
    """A run ended otherwise than succeeded."""


class RunFailedError(RunError):
    """At least one step of the run failed."""


class RunCancelledError(RunError):
    """The run was cancelled."""


class WaitTimeoutError(CfWorkersError):
    """The caller stopped waiting; the work itself goes on."""


class DefinitionMissingError(CfWorkersError):
    """A definition that a run is pinned to is no longer in the store."""


class WireVersionError(CfWorkersError):
    """A message or record was written by a release that this one cannot read."""
