"""How does a dependency graph become Celery canvas? One flat group a fan-out, one flat chord a join.

A step that ends releases what it made ready: `release(step)` gives the group of the successors that waited
for it alone, and one part for each join that it feeds. Joins are counted by Celery's result backend, which
publishes the chord's body when the last part arrives. Nothing is nested: a message carries a run, a step and
an attempt, so its size does not depend on the graph's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery, Signature, chord, group

from cf_workers.wire import CONTROL, EXECUTE_STEP, FINISH_RUN
from cf_workers.workflows.graph import Graph
from cf_workers.workflows.plan import FINISH, RunHeader

_PUBLISH_BATCH = 500
_FEW = 10
"""So many members publish their events one by one, as any task does."""


class SentEvents:
    """Celery's task-sent events, published a few hundred at a time instead of one with each message.

    Takes the place of the dispatcher with which a message is published: an event costs as much as a message.
    """

    def __init__(self, app: Celery, producer: Any) -> None:
        self._dispatcher = app.events.Dispatcher(enabled=False)
        self._producer = producer
        self._events: list[Any] = []
        self._options: dict[str, Any] = {}

    def publish(self, type: str, fields: Any, producer: Any, **options: Any) -> None:  # noqa: ARG002
        """Keep an event, with its clock and origin; a dispatcher's signature."""
        self._dispatcher.publish(type, fields, producer=_Taken(self._take), **options)

    def flush(self) -> None:
        """Publish what is kept, as a worker does with what it buffers."""
        if self._events:
            self._producer.publish(self._events, **{**self._options, "routing_key": "task.multi"})
            self._events = []

    def _take(self, event: Any, **options: Any) -> None:
        self._events.append(event)
        self._options = options
        if len(self._events) == _PUBLISH_BATCH:
            self.flush()


@dataclass(frozen=True)
class _Taken:
    """A producer that publishes nothing."""

    publish: Callable[..., None]


class FlatGroup(group):
    """A group whose members report to a run record: publishing it subscribes to no results."""

    def apply_async(self, args: Any = None, kwargs: Any = None, producer: Any = None, **options: Any) -> None:
        """Publish the members as they are, in as few round trips as the transport allows."""
        if args or kwargs:
            raise TypeError("the members are immutable")
        publish(self.app, self.tasks, producer, numbered=True, **self.options, **options)


def publish(
    app: Celery,
    signatures: Sequence[Signature],
    producer: Any = None,
    *,
    numbered: bool = False,
    **options: Any,
) -> None:
    """Publish messages as they are, in as few round trips as the transport allows.

    Args:
        numbered: each says which member of its group it is.
        options: of all of them.
    """
    with app.producer_or_acquire(producer) as channel, channel.batch(max_size=_PUBLISH_BATCH):
        known: set[str] = set()
        events = SentEvents(app, channel) if len(signatures) > _FEW else None
        if events is not None:
            options["event_dispatcher"] = events
        for index, signature in enumerate(signatures):
            queue, more = signature.options.get("queue"), dict(options)
            if queue in known:
                more["declare"] = []  # the first message has seen to it
            if queue is not None:
                known.add(queue)
            if numbered:
                more["group_index"] = index
            signature.apply_async(producer=channel, add_to_parent=False, **more)
        if events is not None:
            events.flush()


@dataclass(frozen=True)
class Part:
    """One edge into a join: what a step that ended contributes to the chord of another.

    Args:
        join: the id of the step that waits.
        index: the stable number of the edge, from 0.
        size: how many parts the join counts.
    """

    join: str
    index: int
    size: int


@dataclass(frozen=True)
class Release:
    """What the end of one step makes ready."""

    group: FlatGroup | None
    parts: tuple[Part, ...]


class Compiler:
    """Compiles one attempt of one run. Pure: it reads and sends nothing, and equal runs compile alike."""

    def __init__(self, app: Celery, header: RunHeader) -> None:
        self._app = app
        self._header = header
        self._numbers: dict[str, dict[str, int]] = {}

    @property
    def graph(self) -> Graph:
        return self._header.pending

    def roots(self) -> FlatGroup:
        """The group that starts the run."""
        return self._group(self.graph.roots, "roots")

    def joins(self) -> Iterator[tuple[str, int]]:
        """Every join with its size, in topological order."""
        for step in self.graph.order:
            if (size := len(self.graph.dependencies(step))) > 1:
                yield step, size

    def release(self, step: str) -> Release:
        """What becomes ready, or nearer to it, when `step` has ended."""
        alone, parts = [], []
        for successor in self.graph.successors(step):
            dependencies = self.graph.dependencies(successor)
            if len(dependencies) == 1:
                alone.append(successor)
            else:
                parts.append(Part(successor, self._edge(step, successor), len(dependencies)))
        return Release(self._group(alone, step) if alone else None, tuple(parts))

    def chord(self, step: str) -> chord:
        """The chord of a join: its header are the steps it waits for, its body is the step itself."""
        return chord(self._group(self.graph.dependencies(step), step), self.signature(step), app=self._app)

    def chord_id(self, step: str) -> str:
        """The group id under which the result backend counts a join; it starts afresh in each attempt."""
        return f"{{{self._header.run}}}:{step}:{self._header.attempt}"

    def signature(self, step: str) -> Signature:
        """The message that executes one step; immutable, with an id that says what it is."""
        run, attempt = self._header.run, self._header.attempt
        if step == FINISH:
            return self._app.signature(
                FINISH_RUN,
                args=(run, attempt),
                immutable=True,
                options={"task_id": run, "root_id": run, "queue": CONTROL, "argsrepr": f"run={run}"},
            )
        planned = self._header.plan.by_id[step]
        return self._app.signature(
            EXECUTE_STEP,
            args=(run, step, attempt),
            immutable=True,
            options={
                "task_id": f"{run}:{step}",
                "root_id": run,
                "queue": planned.queue,
                "ignore_result": True,  # else a producer, which does not know the task, subscribes to it
                "argsrepr": f"agent={planned.agent} step={step} run={run}",
                "kwargsrepr": "{}",  # else Celery works it out for each message
            },
        )

    def _group(self, steps: list[str] | tuple[str, ...], name: str) -> FlatGroup:
        return FlatGroup(
            [self.signature(step) for step in steps],
            app=self._app,
            group_id=f"{self._header.run}:{name}:{self._header.attempt}",
        )

    def _edge(self, step: str, join: str) -> int:
        if join not in self._numbers:
            self._numbers[join] = {name: n for n, name in enumerate(self.graph.dependencies(join))}
        return self._numbers[join][step]


def describe(compiler: Compiler) -> list[str]:
    """The compiled groups and chords, one a line, in the order in which they are reached.

    A fan-out reads `linter -> group([a, b])`, a join `chord([a, b], c)`; the step after which the run ends is
    followed by `finish_run`.
    """
    lines = [f"group([{_members(compiler.roots())}])"]
    for step in compiler.graph.order:
        if step == FINISH:
            continue
        fan_out = compiler.release(step).group
        if fan_out is not None:
            lines.append(f"{step} -> group([{_members(fan_out)}])")
    for join, _ in compiler.joins():
        compiled = compiler.chord(join)
        lines.append(f"chord([{_members(compiled.tasks)}], {_name(compiled.body)})")
    return lines


def _members(signatures: Any) -> str:
    return ", ".join(_name(signature) for signature in getattr(signatures, "tasks", signatures))


def _name(signature: Signature) -> str:
    return str(signature.args[1]) if signature.task == EXECUTE_STEP else "finish_run"
