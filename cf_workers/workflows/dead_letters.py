"""Which steps were given up because every worker that took them on died, and what is known of it?

A step that kills its workers would kill the next one too, so it ends as failed after so many deaths. The
letter is the evidence for whoever looks into it; the run itself goes on by the rules of its steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from cf_workers._redis import Keys, RedisClient, server_time
from cf_workers.errors import InputError
from cf_workers.wire import canonical_json


@dataclass(frozen=True)
class DeadLetterPolicy:
    """How long letters are kept, and how many.

    Args:
        keep_seconds: as long as the record of a run that has ended.
        at_most: the oldest go first.
    """

    keep_seconds: float = 7 * 86_400.0
    at_most: int = 10_000


@dataclass(frozen=True)
class DeadLetter:
    """One step that was given up.

    Args:
        attempt: of the run.
        deaths: workers that died under the step.
        workers: their ids, the first twenty.
        error: what the step failed with.
        at: Unix seconds; `None` until it is stored.
    """

    run: str
    step: str
    agent: str
    attempt: int
    deaths: int
    workers: tuple[str, ...]
    error: str
    at: float | None = None

    @property
    def id(self) -> str:
        """Names the step of the run, in whichever attempt."""
        return f"{self.run}:{self.step}"

    def document(self) -> dict[str, Any]:
        """As `dlq list --json` prints it."""
        return {"id": self.id, **asdict(self), "workers": list(self.workers)}


class DeadLetters:
    """The dead letters of one namespace; bounded, and gone after a while."""

    def __init__(self, client: RedisClient, keys: Keys, policy: DeadLetterPolicy | None = None) -> None:
        self._client = client
        self._keys = keys
        self.policy = policy or DeadLetterPolicy()

    def add(self, letter: DeadLetter) -> DeadLetter:
        """Store a letter; a second one for the same step replaces the first. Safe to repeat."""
        at = server_time(self._client)
        stored = replace(letter, at=at)
        policy, listed = self.policy, self._keys.dead_letters
        with self._client.pipeline(transaction=True) as pipe:
            pipe.set(
                self._keys.dead_letter(stored.id),
                canonical_json(asdict(stored)),
                ex=max(1, int(policy.keep_seconds)),
            )
            pipe.zadd(listed, {stored.id: at})
            pipe.zremrangebyscore(listed, "-inf", at - policy.keep_seconds)
            pipe.zremrangebyrank(listed, 0, -policy.at_most - 1)
            pipe.execute()
        return stored

    def newest(self, *, limit: int = 100) -> list[DeadLetter]:
        """The newest letters first."""
        names = self._client.zrevrange(self._keys.dead_letters, 0, limit - 1)
        if not names:
            return []
        found = self._client.mget([self._keys.dead_letter(name) for name in names])
        return [_read(text) for text in found if text]

    def get(self, id: str) -> DeadLetter:
        """One letter.

        Args:
            id: `RUN:STEP`.

        Raises:
            InputError: there is none of that id.
        """
        text = self._client.get(self._keys.dead_letter(id))
        if text is None:
            raise InputError(
                f"no dead letter {id!r}", {"hint": "see `cf-workers dlq list`; letters are kept for a while"}
            )
        return _read(text)

    def of_run(self, run: str, steps: Iterable[str]) -> list[DeadLetter]:
        """The letters of a run, given the ids of its steps."""
        names = [self._keys.dead_letter(f"{run}:{step}") for step in steps]
        return [_read(text) for text in self._client.mget(names) if text] if names else []

    def drop(self, letters: Iterable[DeadLetter]) -> None:
        """Forget letters; the runs stay as they are."""
        with self._client.pipeline(transaction=True) as pipe:
            for letter in letters:
                pipe.delete(self._keys.dead_letter(letter.id))
                pipe.zrem(self._keys.dead_letters, letter.id)
            pipe.execute()


def _read(text: str) -> DeadLetter:
    stored = json.loads(text)
    return DeadLetter(**{**stored, "workers": tuple(stored["workers"])})
