"""Which JSON value fits a JSON schema?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MAX_DEPTH = 20


def example_of(schema: Any, text: str) -> Any:
    """A small value that fits the schema.

    Args:
        text: what strings say.

    Raises:
        ValueError: it is not a JSON schema.
    """
    try:
        return _example(schema, schema, text, 0)
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"not a JSON schema ({type(error).__name__})") from None


def _example(schema: Any, root: Any, text: str, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return text
    if "$ref" in schema:
        return _example(_resolved(str(schema["$ref"]), root), root, text, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            return _example(schema[choice][0], root, text, depth + 1)
    return _by_type(schema, root, text, depth)


def _by_type(schema: Mapping[str, Any], root: Any, text: str, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    makers: dict[str, Callable[[], Any]] = {
        "object": lambda: {
            name: _example(part, root, text, depth + 1) for name, part in schema.get("properties", {}).items()
        },
        "array": lambda: [
            _example(schema.get("items", {}), root, text, depth + 1)
            for _ in range(max(1, schema.get("minItems", 1)))
        ],
        "integer": lambda: schema.get("minimum", 1),
        "number": lambda: schema.get("minimum", 1.0),
        "boolean": lambda: True,
        "null": lambda: None,
    }
    return makers.get(str(kind), lambda: text)()


def _resolved(reference: str, root: Any) -> Any:
    """The part of the schema that a local reference such as `#/$defs/Finding` names."""
    part = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        part = part.get(name, {}) if isinstance(part, Mapping) else {}
    return part
