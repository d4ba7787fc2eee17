"""May a call about batches be made now? They have limits of their own, and a spend limit in common."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cf_workers.batches import BatchApi, NotTakenError, RemoteBatch, Request, RowResult
from cf_workers.batches.api import BatchCallError
from cf_workers.resilience import (
    Ask,
    Guard,
    Permit,
    Refused,
    Scope,
    answered,
    explain,
    failed,
    never_sent,
)
from cf_workers.wire import BATCH

SCOPE_CLASS = "message-batches"
"""Stands where the guards expect a class of models."""


class GuardedBatches:
    """A batch API behind breaker, gate and buckets.

    Args:
        credential: a digest of the credential that the calls are made with.
    """

    def __init__(self, inner: BatchApi, guard: Guard, *, credential: str) -> None:
        self._inner = inner
        self._guard = guard
        self._scope = Scope(credential, SCOPE_CLASS)
        self._held: set[Permit] = set()
        self._lock = threading.Lock()

    def create(self, requests: Sequence[Request]) -> RemoteBatch:
        with self._admitted():
            return self._inner.create(requests)

    def retrieve(self, batch: str) -> RemoteBatch | None:
        with self._admitted():
            return self._inner.retrieve(batch)

    def newest(self) -> Iterator[RemoteBatch]:
        with self._admitted():
            yield from self._inner.newest()

    def results(self, batch: str) -> Iterator[RowResult]:
        with self._admitted():
            yield from self._inner.results(batch)

    def cancel(self, batch: str) -> None:
        with self._admitted():
            self._inner.cancel(batch)

    def renew(self) -> None:
        """Keep the calls of this process counted as in flight; for the heartbeat."""
        with self._lock:
            held = list(self._held)
        if held:
            self._guard.renew(held)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        decision = self._guard.admit(Ask(self._scope, output_tokens=0, lane=BATCH))
        if isinstance(decision, Refused):
            raise NotTakenError(explain(decision.reason), retry_in=decision.retry_in_seconds)
        permit = decision.permit
        ending = answered(input_tokens=0, output_tokens=0)
        with self._lock:
            self._held.add(permit)
        try:
            yield
        except BatchCallError as error:
            ending = never_sent() if error.error is None else failed(error.error)
            raise
        except BaseException:  # it says nothing of the provider
            ending = never_sent()
            raise
        finally:
            with self._lock:
                self._held.discard(permit)
            self._guard.settle(permit, ending)
