"""How does work get onto the queue? Starting, releasing and sending again; producers and workers share it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from celery import Celery, Signature
from celery.canvas import maybe_signature

from cf_workers.workflows.compiler import Compiler, publish
from cf_workers.workflows.definitions import Definitions
from cf_workers.workflows.joins import Joins
from cf_workers.workflows.keyed_cache import KeyedCache
from cf_workers.workflows.plan import FINISH, RunHeader
from cf_workers.workflows.record import NewRun, RunStore

log = logging.getLogger(__name__)

_COMPILERS_CACHED = 256


class Launcher:
    """Publishes the groups and chords of runs, exactly as the compiler returns them."""

    def __init__(self, app: Celery, store: RunStore, definitions: Definitions, joins: Joins) -> None:
        self._app = app
        self._store = store
        self._definitions = definitions
        self._joins = joins
        self._compilers = KeyedCache(self._compile, size=_COMPILERS_CACHED)

    def warm(self) -> None:
        """Connect, so that the first publication need not wait for it."""
        self._joins.warm()

    def start(self, new: NewRun, definitions: Mapping[str, str]) -> str:
        """Pin what the run needs, size its joins, write its record, publish its roots - in this order.

        A producer that dies in between leaves a run that the reconciler starts, or no run at all.

        Args:
            definitions: the agents' definitions by digest; the plan is added here.

        Returns:
            The run's id, or that of the earlier run with the same idempotency key.
        """
        policy = self._store.policy
        pinned = {**definitions, new.plan.digest: new.plan.text}
        self._definitions.pin(new.run, pinned, policy.active_seconds)
        header = RunHeader.of_first_attempt(new.run, new.plan)
        compiler = Compiler(self._app, header)
        sizes = [(compiler.chord_id(step), size) for step, size in compiler.joins()]
        if sizes:
            self._joins.size(sizes)
        run = self._store.start(new)
        if run != new.run:
            self._definitions.unpin(new.run, pinned, policy.retention_seconds)
            self._joins.forget(chord_id for chord_id, _ in sizes)
            return run
        compiler.roots().apply_async()
        log.info("run.started run=%s workflow=%s steps=%d", run, new.plan.workflow, len(new.plan.steps))
        return run

    def record(self, new: NewRun, definitions: Mapping[str, str]) -> str:
        """The first half of `start`, for an execution whose message the caller publishes itself."""
        policy = self._store.policy
        pinned = {**definitions, new.plan.digest: new.plan.text}
        self._definitions.pin(new.run, pinned, policy.active_seconds)
        run = self._store.start(new)
        if run != new.run:
            self._definitions.unpin(new.run, pinned, policy.retention_seconds)
        return run

    def restart(self, run: str) -> int:
        """Run again what did not succeed; returns the number of the new attempt.

        Raises:
            UnknownRunError: there is no such run.
            InputError: it is still active, or it has succeeded.
            DefinitionMissingError: its plan is not in the store any more.
        """
        self._store.header(run, self._store.current_attempt(run))  # a plan that has gone is said before
        attempt = self._store.reopen(run)
        self._app.backend.delete(self._app.backend.get_key_for_task(run))
        header = self._store.header(run, attempt)
        plan = header.plan
        self._definitions.repin(run, {*plan.definitions, plan.digest}, self._store.policy.active_seconds)
        if message := header.message:
            self._stored(message).apply_async()
            return attempt
        compiler = self._compilers.get(header.key)
        if sizes := [(compiler.chord_id(step), size) for step, size in compiler.joins()]:
            self._joins.size(sizes)
        compiler.roots().apply_async()
        return attempt

    def cancel(self, run: str) -> None:
        """Ask a run to stop, and end it if nothing of it is under way; whoever waits for its result is told.

        Raises:
            UnknownRunError: there is no such run.
        """
        verdict, running, attempt = self._store.stop(run, "cancelled")
        if verdict != "stopping" or running:
            return
        ended, _ = self._store.finish(run, attempt)
        header = self._store.header(run, attempt)
        if ended == "ended":
            self.forget(header)
        self.finish(header)

    def release(self, header: RunHeader, step: str) -> None:
        """Publish what the end of `step` made ready; a second time changes nothing."""
        if header.message:
            return
        compiler = self._compilers.get(header.key)
        released = compiler.release(step)
        if released.group is not None:
            released.group.apply_async()
        for part in released.parts:
            self._joins.part(compiler.chord_id(part.join), step, part, compiler.signature(part.join))

    def send(self, header: RunHeader, step: str) -> None:
        """Publish one step again, or the end of the run; for the reconciler."""
        self._message(header, step).apply_async()

    def send_all(self, wanted: Iterable[tuple[RunHeader, str]]) -> None:
        """Publish steps of any runs again, in as few round trips as may be; for the reconciler."""
        publish(self._app, [self._message(header, step) for header, step in wanted])

    def finish(self, header: RunHeader) -> None:
        """Publish the task that ends the run."""
        self.send(header, FINISH)

    def forget(self, header: RunHeader) -> None:
        """Let go of what a run that has ended no longer needs."""
        plan = header.plan
        self._definitions.unpin(
            header.run, {*plan.definitions, plan.digest}, self._store.policy.retention_seconds
        )
        if header.message:
            return
        compiler = Compiler(self._app, header)
        self._joins.forget(compiler.chord_id(step) for step, _ in compiler.joins())

    def _message(self, header: RunHeader, step: str) -> Signature:
        if header.message:
            return self._stored(header.message)
        return self._compilers.get(header.key).signature(step)

    def _stored(self, message: Mapping[str, object]) -> Signature:
        return maybe_signature(dict(message), app=self._app)

    def _compile(self, key: tuple[str, int]) -> Compiler:
        return Compiler(self._app, self._store.header(*key))
