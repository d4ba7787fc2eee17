"""What does the batch lane need of the provider? Five calls, and two kinds of failure to tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from cf_workers.errors import CfWorkersError

Ending = Literal["succeeded", "errored", "canceled", "expired"]


@dataclass(frozen=True)
class Request:
    """One row as it is sent.

    Args:
        custom_id: at most 64 characters of `[a-zA-Z0-9_-]`; comes back with the row's result.
        params: what would be sent to the Messages API.
    """

    custom_id: str
    params: Mapping[str, Any]


@dataclass(frozen=True)
class RemoteBatch:
    """A batch as the provider tells of it.

    Args:
        rows: how many it holds, whatever became of them.
        created_at: Unix seconds, by the provider's clock.
    """

    id: str
    rows: int
    created_at: float
    ended: bool


@dataclass(frozen=True)
class RowResult:
    """How one row ended.

    Args:
        message: of a row that succeeded, as the Messages API would have sent it.
        error: `type`, `message` and `request_id` of one that errored, as the provider words them.
        passing: whether it may succeed when it is sent again.
    """

    custom_id: str
    ending: Ending
    message: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    passing: bool = False


class BatchCallError(Exception):
    """A call about batches failed; stays within the process.

    Args:
        error: what the provider said, where it was asked.
        retry_in: seconds after which it is worth another try; `None` leaves that to the caller.
    """

    def __init__(
        self, reason: str, *, error: CfWorkersError | None = None, retry_in: float | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error
        self.retry_in = retry_in


class NotTakenError(BatchCallError):
    """The call was certainly not carried out, or changes nothing; it may be made again."""


class RejectedError(BatchCallError):
    """The provider rejects the batch as it is, and would do so again."""


class UnclearError(BatchCallError):
    """Nobody knows whether a batch was made."""


class BatchApi(Protocol):
    """The Message Batches API; each call raises one of the errors above, and only `create` an unclear one."""

    def create(self, requests: Sequence[Request]) -> RemoteBatch:
        """Submit a batch."""
        ...

    def retrieve(self, batch: str) -> RemoteBatch | None:
        """What has become of a batch; `None` when there is none of that id."""
        ...

    def newest(self) -> Iterator[RemoteBatch]:
        """All batches, the newest first."""
        ...

    def results(self, batch: str) -> Iterator[RowResult]:
        """The results of a batch that has ended, in any order."""
        ...

    def cancel(self, batch: str) -> None:
        """End a batch early; rows not yet reached end as canceled."""
        ...
