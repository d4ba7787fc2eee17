"""Is a parked step to be sent once more, since its message was lost, or does that still lie in a queue?

A fleet that is slower than the pace of release has a backlog, and whoever sends its messages again makes it
longer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class _Sent:
    again: float
    at: float
    times: int


class Repeats:
    """Remembers what was sent, by the score it was left with among the parked.

    Args:
        patience_seconds: a message is not repeated so long while queues are not empty; doubled each time.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._patience = patience_seconds
        self._sent: dict[str, _Sent] = {}

    def among(self, due: Mapping[str, float]) -> list[str]:
        """Those that were sent before and have not been taken since.

        Args:
            due: parked steps with their scores.
        """
        return [name for name, score in due.items() if name in self._sent and self._sent[name].again == score]

    def impatient(self, repeats: Collection[str], now: float) -> set[str]:
        """Those of the repeats that have waited for too long, whatever lies in the queues."""
        return {name for name in repeats if now - self._sent[name].at >= self._pause(name)}

    def note_sent(
        self, names: Collection[str], repeats: Collection[str], *, again: float, now: float
    ) -> None:
        """They are sent now, and will be due `again`."""
        for name in names:
            times = self._sent[name].times + 1 if name in repeats else 0
            self._sent[name] = _Sent(again, now, times)

    def note_left(self, names: Collection[str], *, again: float) -> None:
        """They are not sent this time."""
        for name in names:
            self._sent[name] = _Sent(again, self._sent[name].at, self._sent[name].times)

    def forget(self, before: float) -> None:
        """Forget what was due before a moment: it has been taken, or it would have been noted again."""
        self._sent = {name: sent for name, sent in self._sent.items() if sent.again > before}

    def _pause(self, name: str) -> float:
        return float(self._patience * 2 ** min(self._sent[name].times, 6))
