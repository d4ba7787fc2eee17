"""At which moments does a schedule tick that runs every so often?

At whole multiples of its interval, counted from the beginning of 1970 in UTC: every beat counts alike, and a
restart moves nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
SHORTEST_SECONDS, LONGEST_SECONDS = 1, 366 * 86_400
_PART = re.compile(r"(\d+)\s*([smhdw])")
_WHOLE = re.compile(r"(?:\d+\s*[smhdw]\s*)+")


@dataclass(frozen=True)
class Every:
    """An interval of whole seconds."""

    text: str
    seconds: int

    def __str__(self) -> str:
        return f"every {self.text}"

    def after(self, moment: datetime) -> datetime:
        """The first tick after a moment, in UTC."""
        return self._at(moment, 1)

    def latest(self, moment: datetime) -> datetime:
        """The last tick that is not after a moment, in UTC."""
        return self._at(moment, 0)

    def _at(self, moment: datetime, more: int) -> datetime:
        return datetime.fromtimestamp((moment.timestamp() // self.seconds + more) * self.seconds, UTC)


def parse_interval(value: str | float) -> Every:
    """Read `30s`, `5m`, `1h30m`, `1d`, `1w`, or a number of seconds.

    Raises:
        ValueError: it is none of these, or is shorter than a second or longer than a year.
    """
    text = value if isinstance(value, str) else f"{int(value) if value == int(value) else value}s"
    if not _WHOLE.fullmatch(text.strip().lower()):
        raise ValueError(f"{text[:40]!r} is not an interval: write for example '30s', '5m', '2h' or '1d'")
    seconds = sum(int(number) * UNITS[unit] for number, unit in _PART.findall(text.lower()))
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise ValueError(f"{text[:40]!r} is too {'short' if seconds < 1 else 'long'}: from 1s to 366d")
    return Every(text.strip(), seconds)
