"""Which answers are to be known before anybody asks for them, and which of them are known already?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cf_workers.answers import execution_key, is_cacheable
from cf_workers.application import Context
from cf_workers.cache import Cache
from cf_workers.errors import InputError
from cf_workers.planning import Planned, check_execution, read_options

_CALL_HINT = {"hint": 'write one {"agent": …, "task": …} a line'}


@dataclass(frozen=True)
class Line:
    """One call that is to be known afterwards.

    Args:
        number: of its line in the file, from 1.
        options: as for `Client.submit`.
    """

    number: int
    agent: str
    task: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Warmer:
    """Reads lines and looks them up, by the rules of the project and the settings of this process.

    Args:
        open_cache: opens the cache when it is first needed.
    """

    def __init__(self, context: Context, open_cache: Callable[[], Cache]) -> None:
        self._context = context
        self._open_cache = open_cache

    def read(self, texts: Iterable[str]) -> list[Line]:
        """The calls in lines of one `{"agent", "task", …}` each; empty lines are passed over.

        Raises:
            InputError: lines cannot be used, all of which are named, or there are none.
            ConfigError: there is no project, or it cannot be read.
        """
        context = self._context
        if not context.settings.cache.enabled or not context.project.cache.enabled:
            raise InputError("the cache is off: nothing would be kept", {"hint": "set cache.enabled to true"})
        lines: list[Line] = []
        problems: list[dict[str, Any]] = []
        for number, text in enumerate(texts, 1):
            if not text.strip():
                continue
            try:
                lines.append(self._line(number, text))
            except InputError as error:
                problems.append({"line": number, "message": error.message, "hint": error.hint})
        if problems:
            wrong = ", ".join(str(problem["line"]) for problem in problems[:20])
            raise InputError(f"{len(problems)} lines cannot be used: {wrong}", {"problems": problems})
        if not lines:
            raise InputError("there is no call in it", _CALL_HINT)
        return lines

    def read_file(self, path: str) -> list[Line]:
        """The calls in a file of the project; see `read`.

        Args:
            path: relative to the project's folder, the one that `.claude` is in.

        Raises:
            InputError: as `read`, and if the file is not there, not in the project, or not UTF-8.
            ConfigError: there is no project, or it cannot be read.
        """
        folder = self._context.project.folder.resolve()
        file = (folder / path).resolve()
        if not file.is_relative_to(folder):
            raise InputError(f"{path!r} leads out of the project", {"hint": f"files must lie in {folder}"})
        return self.read(read_texts(file))

    def knows(self, line: Line) -> bool:
        """Whether the answer to a line is in the cache and would be given; it is not used.

        Raises:
            InputError: the line cannot be used.
            ServerUnreachableError: the cache's server fails.
        """
        key = execution_key(self._context, self._planned(line.agent, line.task, line.options), line.task)
        found = self._open_cache().inspect(key) if key else None
        return found is not None and not found.stale

    def _line(self, number: int, text: str) -> Line:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise InputError(f"is no object but {type(found).__name__}", _CALL_HINT)
        agent, task = found.pop("agent", None), found.pop("task", None)
        if not isinstance(agent, str) or not isinstance(task, str):
            raise InputError("needs an agent and a task, both text", _CALL_HINT)
        planned = self._planned(agent, task, found)
        if not is_cacheable(self._context, planned.plan.steps[0]):
            raise InputError(
                f"answers of agent {agent!r} are not kept", {"hint": "see cache.exclude_agents and cacheable"}
            )
        return Line(number, agent, task, found)

    def _planned(self, agent: str, task: str, options: Mapping[str, Any]) -> Planned:
        context = self._context
        return check_execution(agent, task, context.project, context.settings, read_options(options))


def read_texts(file: Path) -> list[str]:
    """The lines of a file.

    Raises:
        InputError: it cannot be read, or is not UTF-8.
    """
    try:
        return decoded(file.read_bytes(), str(file))
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None


def decoded(raw: bytes, source: str) -> list[str]:
    """The lines of what was read from a source.

    Raises:
        InputError: it is not UTF-8.
    """
    try:
        return raw.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{source} is not UTF-8", {"hint": "convert it, for example with iconv"}) from None
