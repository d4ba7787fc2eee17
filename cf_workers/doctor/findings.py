"""How is something told that was looked at?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "advice", "problem"]
OK: Level = "ok"
ADVICE: Level = "advice"
PROBLEM: Level = "problem"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        topic: in a word or two.
        level: `problem` is in the way of work or endangers it, `advice` may be as it is meant to be.
        says: what was found; never a secret.
        do: what to do about it; `None` where nothing is to be done.
    """

    topic: str
    level: Level
    says: str
    do: str | None = None

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
