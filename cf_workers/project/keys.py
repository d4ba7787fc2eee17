"""Which keys does an object of the project file have? One table serves the loader and the JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cf_workers.project.fields import Fields

NOT_BLANK = r"\S"

Read = Callable[[Fields], Any]


@dataclass(frozen=True)
class Key:
    """One key of an object; every key may be left out, and `null` counts as left out.

    Args:
        about: what it is for, for people who edit the file.
        schema: JSON Schema of a value that is there.
        read: takes the value from the object; `None` where it is absent or wrong, which is reported.
    """

    name: str
    about: str
    schema: Mapping[str, Any]
    read: Read

    @property
    def property(self) -> dict[str, Any]:
        """JSON Schema of the key."""
        return {"description": self.about, **nullable(self.schema)}


def read_keys(keys: Fields, table: Iterable[Key]) -> dict[str, Any]:
    """The values of a table's keys, by name."""
    return {key.name: key.read(keys) for key in table}


def properties(table: Iterable[Key]) -> dict[str, Any]:
    """JSON Schema of a table's keys, by name."""
    return {key.name: key.property for key in table}


def text(name: str, about: str) -> Key:
    return Key(name, about, {"type": "string"}, lambda keys: keys.text(name))


def word(name: str, about: str) -> Key:
    """A string that is not empty."""
    return Key(name, about, {"type": "string", "pattern": NOT_BLANK}, lambda keys: keys.name(name))


def flag(name: str, about: str, *, default: bool | None = None) -> Key:
    schema = {"type": "boolean", **_default(default)}
    return Key(name, about, schema, lambda keys: keys.flag(name))


def positive(name: str, about: str, *, hint: str | None = None, default: float | None = None) -> Key:
    """A number above 0.

    Args:
        hint: for authors who write 0 or less.
    """
    schema = {"type": "number", "exclusiveMinimum": 0, **_default(default)}
    return Key(name, about, schema, lambda keys: keys.positive(name, hint))


def whole(
    name: str, about: str, minimum: int, maximum: int | None = None, *, default: int | None = None
) -> Key:
    bounds = {"minimum": minimum, **({} if maximum is None else {"maximum": maximum})}
    schema = {"type": "integer", **bounds, **_default(default)}
    return Key(name, about, schema, lambda keys: keys.whole(name, minimum, maximum))


def choice(name: str, about: str, options: Sequence[str], *, default: str | None = None) -> Key:
    schema = {"enum": list(options), **_default(default)}
    return Key(name, about, schema, lambda keys: keys.choice(name, options))


def strings(name: str, about: str) -> Key:
    """A list of strings that are not empty; each is read with its place."""
    schema = {"type": "array", "items": {"type": "string", "pattern": NOT_BLANK}}
    return Key(name, about, schema, lambda keys: keys.strings(name))


def mapping(name: str, about: str, schema: Mapping[str, Any] | None = None) -> Key:
    """An object, of which `schema` says more."""
    return Key(name, about, {"type": "object", **(schema or {})}, lambda keys: keys.object(name))


def nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of what is described, or `null`."""
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def _default(value: Any) -> dict[str, Any]:
    return {} if value is None else {"default": value}
