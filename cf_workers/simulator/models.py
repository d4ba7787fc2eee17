"""Which models does the stand-in know, and what does each need?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

DEFAULT_MIN_CACHE = 1024
"""Minimum cacheable prefix, in tokens, assumed for ids added by configuration."""


@dataclass(frozen=True)
class Model:
    """One entry of the catalogue.

    Args:
        limits: name of the rate-limit class; models of one class share their buckets.
        min_cache: shortest prefix that is cached, in tokens.
    """

    id: str
    name: str
    line: str | None = None
    limits: str = "other"
    min_cache: int = DEFAULT_MIN_CACHE
    created: str | None = None
    retires: str | None = None
    lifecycle: str = "active"
    assumed: bool = False

    def as_json(self) -> dict[str, Any]:
        """The entry as `GET /v1/models` spells it; what is unknown is null or the epoch."""
        return {
            "id": self.id,
            "type": "model",
            "display_name": self.name,
            "created_at": f"{self.created or '1970-01-01'}T00:00:00Z",
            "lifecycle": self.lifecycle,
            "deprecated_at": None,
            "retires_at": f"{self.retires}T00:00:00Z" if self.retires else None,
            "line": self.line,
            "max_input_tokens": None,
            "max_tokens": None,
            "capabilities": None,
        }


def catalogue(extra: Iterable[str] = ()) -> Mapping[str, Model]:
    """All models by id, in listed order, with ids added by configuration at the end."""
    text = files("cf_workers.simulator").joinpath("models.json").read_text("utf-8")
    known = {entry["id"]: Model(**entry) for entry in json.loads(text)["models"]}
    return known | {name: Model(name, name) for name in extra if name not in known}
