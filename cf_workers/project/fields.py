"""Does a key hold what it should?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from cf_workers.project.problems import Report, at, nearest

Absent = TypeVar("Absent")

_NEAR_MISS = 0.8


class Fields:
    """The keys of one JSON object; whatever is wrong with one is reported, and read as absent.

    A key that holds `null` is absent.
    """

    def __init__(self, raw: Mapping[str, Any], place: str, report: Report) -> None:
        self._raw = raw
        self._place = place
        self._report = report

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._raw.get(key) is not None

    def place(self, key: str) -> str:
        return at(self._place, key)

    def declared(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of the keys that are there."""
        return frozenset(key for key in keys if key in self)

    def raw(self, key: str) -> Any:
        """The value as it is, of whatever kind; nothing about it is reported."""
        return self._raw.get(key)

    def text(self, key: str) -> str | None:
        value = self._raw.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            return self._wrong(key, f"must be a string, not {kind(value)}")
        if not is_unicode(value):
            return self._wrong(key, "holds half of a character (a lone surrogate)")
        return value

    def name(self, key: str) -> str | None:
        """A string that is not empty."""
        value = self.text(key)
        return value if value is None or value.strip() else self._wrong(key, "is empty")

    def flag(self, key: str) -> bool | None:
        value = self._raw.get(key)
        if value is None or isinstance(value, bool):
            return value
        return self._wrong(key, f"must be true or false, not {kind(value)}")

    def positive(self, key: str, hint: str | None = None) -> float | None:
        """A number above 0; fractions are allowed."""
        value = self._raw.get(key)
        if value is None:
            return None
        if not is_number(value):
            return self._wrong(key, f"must be a number, not {kind(value)}")
        return float(value) if value > 0 else self._wrong(key, f"must be above 0, not {value}", hint)

    def whole(self, key: str, minimum: int, maximum: int | None = None) -> int | None:
        value = self._raw.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            shown = value if isinstance(value, float) else kind(value)
            return self._wrong(key, f"must be a whole number, not {shown}")
        if value < minimum or (maximum is not None and value > maximum):
            bounds = f"at least {minimum}" if maximum is None else f"from {minimum} to {maximum}"
            return self._wrong(key, f"must be {bounds}, not {value}")
        return value

    def choice(self, key: str, options: Sequence[str]) -> str | None:
        value = self.text(key)
        if value is None or value in options:
            return value
        found = nearest(value.lower(), options)
        hint = f"did you mean {found!r}?" if found else None
        return self._wrong(key, f"must be {' or '.join(map(repr, options))}, not {value[:40]!r}", hint)

    def strings(self, key: str) -> list[tuple[str, str]]:
        """The strings of a list, each with its place."""
        value = self._raw.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            hint = f"write [{value!r}]".replace("'", '"') if isinstance(value, str) else None
            self._wrong(key, f"must be a list, not {kind(value)}", hint)
            return []
        return [*strings_of(value, self.place(key), self._report)]

    def object(self, key: str) -> dict[str, Any] | None:
        value = self._raw.get(key)
        if value is None or isinstance(value, dict):
            return value
        return self._wrong(key, f"must be an object, not {kind(value)}")

    def warn_of_near_misses(self, known: Sequence[str]) -> None:
        """Report keys that look like a slip of a known one; other unknown keys are nobody's business here."""
        for key in self._raw:
            if key not in known:
                meant = _near_miss(key, tuple(known))
                if meant:
                    self._wrong(key, f"{key!r} is not a key of this format", f"did you mean {meant!r}?")

    def _wrong(self, key: str, message: str, hint: str | None = None) -> Absent | None:
        """Report what is wrong with a key, and read it as absent."""
        self._report.add(self.place(key), message, hint)
        return None


def strings_of(values: list[Any], place: str, report: Report) -> Iterable[tuple[str, str]]:
    """The strings of a list with their places; whatever else is in it is reported."""
    for index, value in enumerate(values):
        if not isinstance(value, str):
            report.add(at(place, index), f"must be a string, not {kind(value)}")
        elif not value.strip():
            report.add(at(place, index), "is empty")
        else:
            yield at(place, index), value


@lru_cache(maxsize=256)
def _near_miss(key: str, known: tuple[str, ...]) -> str | None:
    return nearest(key.lower().replace("-", "_"), known, _NEAR_MISS)


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_unicode(value: str) -> bool:
    """Whether the string can be written as UTF-8, which lone surrogates cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def kind(value: object) -> str:
    """What JSON calls this value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds = ((str, "a string"), (int | float, "a number"), (Mapping, "an object"), (list, "a list"))
    return next((name for type_, name in kinds if isinstance(value, type_)), "null")
