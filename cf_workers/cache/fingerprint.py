"""When are two calls the same call? When everything that shapes the answer is the same, to the byte."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from cf_workers.errors import InputError
from cf_workers.wire import canonical_json

SCHEMA = 1
"""Version of what is hashed and of what is kept under it; a new one leaves all earlier entries behind."""

DIGEST_LENGTH = 64


def fingerprint(parts: Mapping[str, Any], *, namespace: str) -> str:
    """SHA-256 in hexadecimal of the parts, the namespace and the schema version.

    Everything is hashed as one canonical JSON document, whose quotes and braces no value can imitate: parts
    cannot run into each other.

    Args:
        parts: JSON values only; tuples are refused as well, because they would read as lists.
        namespace: keeps apart what must not share answers, for example tenants or API endpoints.

    Raises:
        InputError: a part is not JSON; the error names where, never the value.
    """
    document = {"schema": SCHEMA, "namespace": namespace, "parts": dict(parts)}
    try:
        _check(document, "")
        text = canonical_json(document)
    except RecursionError:
        raise InputError("the call cannot be fingerprinted: it is nested too deeply") from None
    # A lone surrogate is a legal JSON string and must not become another one.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _check(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _not_json(f"a key in {where or 'the call'}", key)
            _check(inner, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check(inner, f"{where}[{index}]")
    elif not (value is None or isinstance(value, str | int | float)):
        raise _not_json(where, value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"the call cannot be fingerprinted: {where} is not a finite number")


def _not_json(where: str, value: Any) -> InputError:
    return InputError(
        f"the call cannot be fingerprinted: {where} is of type {type(value).__name__}",
        {"hint": "hand in strings, numbers, booleans, null, lists and objects with string keys"},
    )
