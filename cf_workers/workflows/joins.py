"""How are the parts of a join counted? By Celery's Redis result backend, as it counts any chord.

This is the only place that speaks to the backend's chord API, which is internal to Celery and changed in 5.5,
5.6 and 5.7; `tests/integration/test_joins.py` is the contract it is held to. What makes the direct call
sound: a join is sized before any of its parts can return; each part has an id of its own, and counts once by
(id, index); the body is immutable and carries its own task id.
"""

from __future__ import annotations

from collections.abc import Iterable

from celery import Celery, Signature, states
from celery.app.task import Context

from cf_workers.workflows.compiler import Part


class Joins:
    """The chords of all runs, as the result backend keeps them."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def warm(self) -> None:
        """Connect to the backend and to the broker, so that the first release need not."""
        self._app.backend.client.ping()
        with self._app.producer_or_acquire() as producer:
            producer.connection.ensure_connection(max_retries=3)

    def size(self, sizes: Iterable[tuple[str, int]]) -> None:
        """Say how many parts each join counts, in one round trip.

        The same key and lifetime as the backend's `set_chord_size`, without its deletion of an older claim:
        the id of a join is new in each attempt.

        Args:
            sizes: pairs of chord id and number of parts.
        """
        backend = self._app.backend
        with backend.client.pipeline(transaction=False) as pipe:
            for chord_id, size in sizes:
                pipe.set(backend.get_key_for_group(chord_id, ".s"), size, ex=backend.chord_expires or None)
            pipe.execute()

    def part(self, chord_id: str, step: str, part: Part, body: Signature) -> None:
        """Report one part; the last one publishes `body`. Safe to repeat."""
        body["chord_size"] = part.size
        edge = Context(
            id=f"{chord_id}<{step}", group=chord_id, group_index=part.index, chord=body, task=body.task
        )
        self._app.backend.on_chord_part_return(edge, states.SUCCESS, None)

    def forget(self, chord_ids: Iterable[str]) -> None:
        """Drop what the backend keeps of joins that will never complete."""
        backend = self._app.backend
        keys = [
            backend.get_key_for_group(chord_id, suffix)
            for chord_id in chord_ids
            for suffix in ("", ".j", ".d", ".t", ".s", ".c")
        ]
        for start in range(0, len(keys), 1000):
            backend.client.delete(*keys[start : start + 1000])
