"""Which inputs does a task ask for, and how are they filled in?"""

from __future__ import annotations

import re
from collections.abc import Mapping

_INPUT = re.compile(r"\{\{\s*inputs\.([^{}]*?)\s*\}\}")


def input_names(task: str) -> tuple[str, ...]:
    """The names in `{{ inputs.NAME }}`, each once, as they come; also those that no input can have."""
    return tuple(dict.fromkeys(_INPUT.findall(task)))


def fill_inputs(task: str, values: Mapping[str, str]) -> str:
    """The task with its inputs filled in; what a value itself contains is left as it is.

    Raises:
        KeyError: a value is missing.
    """
    return _INPUT.sub(lambda match: values[match.group(1)], task)


def full_task(own: str | None, values: Mapping[str, str], of_run: str | None) -> str:
    """A step's own task with its inputs filled in, and the run's task; both where both are given.

    Raises:
        KeyError: a value is missing.
    """
    return "\n\n".join(text for text in (own and fill_inputs(own, values), of_run) if text)
