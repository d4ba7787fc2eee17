"""What does the project file say, and on which line?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

from cf_workers.errors import ConfigError
from cf_workers.project.fields import kind
from cf_workers.project.problems import Problem, at

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_SHOWN_OF_LINE = 60
_SMALLEST = 'the smallest project is {"version": "1.0.0"}'


class Source:
    """A project file as parsed; where it names a key twice, the last one counts, as in every JSON reader.

    Raises:
        ConfigError: the text is not JSON, or not an object.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self._has_duplicates = False
        self.raw: Any = self._parse()

    def line(self, place: str) -> int | None:
        """The line of a place, or of the nearest thing around it that is in the file."""
        while place:
            if place in self._map.lines:
                return self._map.lines[place]
            place = place[: max(place.rfind("."), place.rfind("["), 0)]
        return None

    @cached_property
    def duplicates(self) -> list[Problem]:
        """Keys that are named twice in one object."""
        if not self._has_duplicates:
            return []
        return [
            Problem(
                str(self.path),
                place,
                f"is declared twice, first in line {first}",
                "remove one of them",
                again,
            )
            for place, first, again in self._map.duplicates
        ]

    @cached_property
    def _map(self) -> _Map:
        return _map(self.text)

    def _parse(self) -> Any:
        try:
            raw = json.loads(self.text, object_pairs_hook=self._object, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise self._not_json(error) from None
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else error
            raise ConfigError(f"{self.path} is not valid JSON: {reason}") from None
        return self._accept(raw)

    def _accept(self, raw: Any) -> Any:
        """What is in the file, if it is of a kind that can be used."""
        if not isinstance(raw, dict):
            raise ConfigError(
                f"{self.path} must hold a JSON object, not {kind(raw)}",
                {"hint": _SMALLEST},
            )
        return raw

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            self._has_duplicates = True
        return members

    def _not_json(self, error: json.JSONDecodeError) -> ConfigError:
        if not self.text.strip():
            return ConfigError(f"{self.path} is empty", {"hint": _SMALLEST})
        lines = self.text.splitlines()
        beginning = lines[min(error.lineno, len(lines)) - 1].strip()[:_SHOWN_OF_LINE]
        return ConfigError(
            f"{self.path} is not valid JSON: {error.msg} in line {error.lineno}, column {error.colno}, "
            f"which begins {beginning!r}",
            {
                "hint": "JSON allows no comments, no single quotes and no comma after the last item",
                "line": error.lineno,
                "column": error.colno,
            },
        )


@dataclass
class _Map:
    """Lines of places, and (place, first line, line again) of keys named twice."""

    lines: dict[str, int]
    duplicates: list[tuple[str, int, int]]


@dataclass
class _Open:
    """An object or list that is being read."""

    place: str
    is_object: bool
    index: int = 0
    member: str = ""
    at_key: bool = True

    def __post_init__(self) -> None:
        self.keys: dict[str, int] = {}


def _map(text: str) -> _Map:
    """Walk once through valid JSON, without recursion, and note where everything begins."""
    found = _Map({}, [])
    open_: list[_Open] = []
    for mark, line in _tokens(text):
        inner = open_[-1] if open_ else None
        if mark in "}]":
            open_.pop()
        elif mark == ",":
            assert inner is not None  # noqa: S101  (a comma stands inside something)
            inner.index += 1
            inner.at_key = True
        elif mark == ":":
            continue
        elif inner is not None and inner.is_object and inner.at_key:
            _note_key(inner, json.loads(mark), line, found)
        else:
            place = _note_value(inner, line, found)
            if mark in "{[":
                open_.append(_Open(place, is_object=mark == "{"))
    return found


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    line, seen = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", seen, match.start())
        seen = match.start()
        yield match.group(), line


def _note_key(inner: _Open, key: str, line: int, found: _Map) -> None:
    inner.at_key = False
    inner.member = at(inner.place, key)
    if key in inner.keys:
        found.duplicates.append((inner.member, inner.keys[key], line))
    else:
        inner.keys[key] = line
    found.lines[inner.member] = line


def _note_value(inner: _Open | None, line: int, found: _Map) -> str:
    if inner is None:
        return ""
    if inner.is_object:
        return inner.member
    place = at(inner.place, inner.index)
    found.lines[place] = line
    return place


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
