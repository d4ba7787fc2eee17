"""How does a caller follow what it has enqueued? Blocking, or with `await` and `async for`."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cf_workers.client.results import ExecutionResult, RunResult
from cf_workers.errors import CancelledError, WaitTimeoutError
from cf_workers.workflows.history import History, RunEvent
from cf_workers.workflows.outcome import FINAL

if TYPE_CHECKING:
    from cf_workers.client.client import Client

R = TypeVar("R")

_LONGEST_WAIT_SECONDS = 1.0
_LATE_SHARE, _LATEST_SECONDS = 0.01, 0.05
"""How late a wait may see the end, so as not to look at every event: as a share of itself, and at most."""
_ASYNC_POLL_SECONDS = (0.02, 0.5)


class Events:
    """What happens in a run until it has ended: `for event in …` or `async for event in …`."""

    def __init__(self, history: History, run: str) -> None:
        self._history = history
        self._run = run

    def __iter__(self) -> Iterator[RunEvent]:
        return (event for event in self._history.follow(self._run) if event is not None)

    async def __aiter__(self) -> AsyncIterator[RunEvent]:
        after = "0-0"
        while True:
            ended = await asyncio.to_thread(self._history.status, self._run) in FINAL  # asked first
            events = await asyncio.to_thread(self._history.events, self._run, after=after)
            for event in events:
                after = event.id
                yield event
            if not events:
                if ended:
                    return
                await asyncio.sleep(_ASYNC_POLL_SECONDS[1])


class Handle(ABC, Generic[R]):
    """Something that was enqueued, known by its id."""

    def __init__(self, client: Client, history: History, id: str) -> None:
        self._client = client
        self._history = history
        self.id = id

    def status(self) -> str:
        """`pending|running|parked|succeeded|failed|cancelled`.

        Raises:
            UnknownRunError: its record is no longer kept.
        """
        with self._client.reaching():
            return self._history.status(self.id)

    def done(self) -> bool:
        """Whether it has ended."""
        return self.status() in FINAL

    def events(self) -> Events:
        """What happened so far and happens until it has ended."""
        return Events(self._history, self.id)

    def cancel(self) -> None:
        """Stop it: nothing more is started, calls in flight are cut. Does nothing when it has ended."""
        self._client.cancel(self.id)

    def wait(self, timeout: float | None = None) -> None:
        """Block until it has ended.

        Args:
            timeout: seconds; `None` waits for as long as it takes.

        Raises:
            WaitTimeoutError: it had not ended by then; it goes on.
        """
        began = time.monotonic()
        deadline = None if timeout is None else began + timeout
        after = self._last_event()
        while not self.done():
            left = _LONGEST_WAIT_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeoutError(
                    f"{self.id!r} had not ended after {timeout:g} s; it goes on",
                    {"run": self.id, "hint": f"follow it with `cf-workers runs watch {self.id}`"},
                )
            after = self._next_event(after, min(left, _LONGEST_WAIT_SECONDS))
            time.sleep(min(_LATEST_SECONDS, _LATE_SHARE * (time.monotonic() - began)))

    def result(self, timeout: float | None = None) -> R:
        """Wait, then return what came of it; see `wait`."""
        self.wait(timeout)
        return self._reached_result()

    def _reached_result(self) -> R:
        with self._client.reaching():
            return self._result()

    def _last_event(self) -> str:
        with self._client.reaching():
            return self._history.last_event(self.id)

    def _next_event(self, after: str, wait_seconds: float) -> str:
        with self._client.reaching():
            events = self._history.events(self.id, after=after, wait_seconds=wait_seconds)
        return events[-1].id if events else after

    def __await__(self) -> Generator[Any, None, R]:
        return self._awaited().__await__()

    async def _awaited(self) -> R:
        pause, longest = _ASYNC_POLL_SECONDS
        while not await asyncio.to_thread(self.done):
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, longest)
        return await asyncio.to_thread(self._reached_result)

    @abstractmethod
    def _result(self) -> R: ...

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r}>"


class ExecutionHandle(Handle[ExecutionResult]):
    """One execution of an agent. `result()` raises the error that the execution ended with."""

    def _result(self) -> ExecutionResult:
        document = self._history.execution(self.id)
        if document["success"]:
            return ExecutionResult.of(document)
        if document["status"] == "cancelled":
            raise CancelledError(f"execution {self.id!r} was cancelled", {"execution": self.id})
        raise self._history.execution_error(self.id)


class RunHandle(Handle[RunResult]):
    """One run of a workflow. `result()` tells of failed runs as well; it raises only when it cannot tell."""

    def retry(self) -> None:
        """Run again what did not succeed.

        Raises:
            InputError: it is still active, or it has succeeded.
        """
        self._client.retry(self.id)

    def _result(self) -> RunResult:
        return RunResult.of(self._history.document(self.id))
