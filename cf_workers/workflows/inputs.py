"""How are a run's inputs put into the tasks of its steps?"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACE = re.compile(r"\{\{\s*inputs\.([A-Za-z0-9_-]+)\s*\}\}")


def names_in(text: str) -> list[str]:
    """The inputs that a task uses, each once, in order."""
    return list(dict.fromkeys(_PLACE.findall(text)))


def fill(text: str, inputs: Mapping[str, str]) -> str:
    """Put the values in; what is put in is not looked at again.

    Raises:
        KeyError: an input has no value.
    """
    return _PLACE.sub(lambda match: inputs[match.group(1)], text)
