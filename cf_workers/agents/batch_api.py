"""How are calls handed to the Message Batches API, and their results fetched?

https://platform.claude.com/docs/en/build-with-claude/batch-processing: everything costs half, and the usage
of each reply says so, by its service tier `batch`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from cf_workers.agents import verdict
from cf_workers.agents.provider import AnthropicProvider
from cf_workers.batches import NotTakenError, RejectedError, RemoteBatch, Request, RowResult, UnclearError
from cf_workers.errors import (
    BadReplyError,
    CfWorkersError,
    ConnectionFailedError,
    ExecutionError,
    OverloadedError,
    PermanentError,
    RateLimitedError,
    SpendLimitError,
    TransientError,
)

if TYPE_CHECKING:
    import anthropic
    from anthropic.types.messages import MessageBatch

T = TypeVar("T")

_PAGE = 100
_NOT_FOUND = 404
_SERVER_ERRORS = 500
_NEVER_SENT = {"dns", "connect", "pool"}


class AnthropicBatches:
    """Batches of one credential.

    Args:
        submit_timeout_seconds: bound on submitting one, all of it.
        call_timeout_seconds: bound on every other call; when results are fetched, on silence.
    """

    def __init__(
        self,
        provider: AnthropicProvider,
        *,
        submit_timeout_seconds: float = 300.0,
        call_timeout_seconds: float = 60.0,
    ) -> None:
        self._provider = provider
        self._submit_timeout = submit_timeout_seconds
        self._call_timeout = call_timeout_seconds

    def create(self, requests: Sequence[Request]) -> RemoteBatch:
        """Submit a batch.

        Raises:
            NotTakenError: none was made.
            RejectedError: none was made, and none ever will be.
            UnclearError: nobody knows.
        """
        rows: Any = [{"custom_id": request.custom_id, "params": request.params} for request in requests]
        try:
            return _remote(
                self._provider.use(
                    lambda client: client.messages.batches.create(requests=rows),
                    timeout_seconds=self._submit_timeout,
                )
            )
        except CfWorkersError as error:
            raise _of_submission(error) from None

    def retrieve(self, batch: str) -> RemoteBatch | None:
        """What has become of a batch; `None` when this key sees none of that id.

        Raises:
            NotTakenError: the API did not say.
        """
        try:
            return _remote(self._use(lambda client: client.messages.batches.retrieve(batch)))
        except NotTakenError as error:
            if isinstance(error.error, ExecutionError) and error.error.status == _NOT_FOUND:
                return None
            raise

    def newest(self) -> Iterator[RemoteBatch]:
        """All batches, the newest first; pages are asked for as they are needed.

        Raises:
            NotTakenError: the API did not say.
        """
        page = self._use(lambda client: client.messages.batches.list(limit=_PAGE))
        while True:
            yield from map(_remote, page.data)
            if not page.has_next_page():
                return
            page = self._use(lambda _, page=page: page.get_next_page())  # type: ignore[misc]

    def results(self, batch: str) -> Iterator[RowResult]:
        """The results of a batch that has ended, as they arrive.

        Raises:
            NotTakenError: they, or the rest of them, cannot be had now.
        """
        opened = self._use(lambda client: client.messages.batches.with_streaming_response.results(batch))
        response = self._use(lambda _: opened.__enter__())
        try:
            # Reading the JSON ourselves takes an eighth of the time of typed models.
            lines = response.iter_lines()
            while (line := self._use(lambda _: next(lines, None))) is not None:
                if line.strip():
                    yield _result(_read(line))
        finally:
            opened.__exit__(None, None, None)

    def cancel(self, batch: str) -> None:
        """End a batch early; what has been answered by then is paid.

        Raises:
            NotTakenError: the API did not say that it does.
        """
        self._use(lambda client: client.messages.batches.cancel(batch))

    def _use(self, work: Callable[[anthropic.Anthropic], T]) -> T:
        try:
            return self._provider.use(lambda client: work(client.with_options(timeout=self._call_timeout)))
        except CfWorkersError as error:
            wait = error.retry_after if isinstance(error, TransientError) else None
            raise NotTakenError(error.message, error=error, retry_in=wait) from None


def _remote(batch: MessageBatch) -> RemoteBatch:
    counts = batch.request_counts
    rows = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
    return RemoteBatch(batch.id, rows, batch.created_at.timestamp(), batch.processing_status == "ended")


def row_failure(said: Mapping[str, Any], secrets: Sequence[str]) -> ExecutionError:
    """The verdict on a row that errored.

    Args:
        said: `error` of its `RowResult`.
        secrets: texts of its request; a message that quotes one of them is withheld.
    """
    failure = verdict.StatusFailure(
        status=200, type=said.get("type"), message=said.get("message"), request_id=said.get("request_id")
    )
    return verdict.of_status(failure, secrets=secrets)


def _read(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError:
        raise NotTakenError("the results broke off") from None


def _result(line: Mapping[str, Any]) -> RowResult:
    found = line["result"]
    custom_id, ending = str(line["custom_id"]), found["type"]
    if ending != "errored":
        return RowResult(custom_id, ending, message=found.get("message"))
    # doubly nested: a result of the kind `errored` holds what the API would have answered
    answer = found.get("error") or {}
    said = {**(answer.get("error") or {}), "request_id": answer.get("request_id")}
    passing = isinstance(row_failure(said, ()), TransientError | SpendLimitError)
    return RowResult(custom_id, "errored", error=said, passing=passing)


def _of_submission(error: CfWorkersError) -> NotTakenError | RejectedError | UnclearError:
    wait = error.retry_after if isinstance(error, TransientError) else None
    if isinstance(error, RateLimitedError | OverloadedError | SpendLimitError):
        return NotTakenError(error.message, error=error, retry_in=wait)
    if isinstance(error, ConnectionFailedError) and error.details.get("kind") in _NEVER_SENT:
        return NotTakenError(error.message, error=error)
    if isinstance(error, PermanentError) and not isinstance(error, BadReplyError):
        return RejectedError(error.message, error=error)
    if isinstance(error, TransientError) and error.status is not None and error.status < _SERVER_ERRORS:
        return NotTakenError(error.message, error=error, retry_in=wait)
    return UnclearError(error.message, error=error)
