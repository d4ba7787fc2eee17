"""Which executions and runs does a batch file ask for, and can every one of them be sent?"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

from cf_workers.errors import InputError
from cf_workers.planning import WorkflowOptions, check_list_task, check_task, read_options, resolve_inputs
from cf_workers.project.batch_files import Entry, RawLine, batch_error, opened, raw_lines, read_entry
from cf_workers.project.problems import Problem

if TYPE_CHECKING:
    from cf_workers.client.client import Client
    from cf_workers.workflows.spec import Lane

_ANY_TASK = "-"


@dataclass(frozen=True)
class _Index:
    """Where the lines stand that are not blank: of a long file only this is kept in memory."""

    numbers: array[int]
    offsets: array[int]
    digest: str


class BatchInput(AbstractContextManager["BatchInput"]):
    """A batch file in which nothing is wrong.

    Args:
        lane: of its work.
    """

    def __init__(self, path: Path, file: BinaryIO, index: _Index, lane: Lane) -> None:
        self.path = path
        self.lane = lane
        self.digest = index.digest
        self.numbers = index.numbers
        self._file = file
        self._offsets = index.offsets

    def __len__(self) -> int:
        return len(self.numbers)

    def entry(self, index: int) -> Entry:
        """One of its lines, counted from 0 among those that are not blank.

        Raises:
            InputError: the line is not any more what it was when the file was checked.
        """
        self._file.seek(self._offsets[index])
        raw = RawLine(self.numbers[index], self._offsets[index], self._file.readline())
        entry, problems = read_entry(raw, self.path)
        if entry is None:
            raise InputError(f"line {raw.number} of {self.path} was changed meanwhile: {problems[0].message}")
        return entry

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_batch(client: Client, path: Path, lane: Lane = "interactive") -> BatchInput:
    """Open a batch file and check every line of it; nothing is sent, and no server is needed.

    Raises:
        InputError: it cannot be read, or holds nothing.
        ProjectError: lines of it cannot be used; all problems are named, each with its line.
    """
    file = opened(path)
    try:
        return BatchInput(path, file, _checked(client, path, file), lane)
    except BaseException:  # Ctrl-C as well: nobody else has this file to close it
        file.close()
        raise


def _checked(client: Client, path: Path, file: BinaryIO) -> _Index:
    checks = _Checks(client)
    numbers, offsets = array("Q"), array("Q")
    digest = hashlib.sha256()
    problems: list[Problem] = []
    for raw in raw_lines(file, digest):
        entry, wrong = read_entry(raw, path)
        if entry is not None:
            wrong = [replace(one, file=str(path), line=raw.number) for one in checks.problems(entry)]
        problems += wrong
        numbers.append(raw.number)
        offsets.append(raw.offset)
    if problems:
        raise batch_error(path, problems)
    if not numbers:
        raise InputError(f"{path} holds no line", {"hint": 'write one {"agent": …, "task": …} a line'})
    return _Index(numbers, offsets, digest.hexdigest())


class _Checks:
    """Asks once for what many lines have in common."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._limit = client.settings.max_task_chars
        self._known: dict[str, Problem | None] = {}

    def problems(self, entry: Entry) -> list[Problem]:
        found = [
            _problem_of("task", lambda: check_task(entry.task, self._limit)),
            self._once(_signature(entry), lambda: self._plan(entry)),
            self._run_problem(entry) if entry.workflow is not None else None,
        ]
        return list(dict.fromkeys(problem for problem in found if problem is not None))

    def _plan(self, entry: Entry) -> None:
        if entry.agent is not None:
            self._client.check_execution(entry.agent, _ANY_TASK, read_options(entry.options))
        else:
            spec = self._client.workflow(entry.workflow or "")
            self._client.check_workflow(
                spec,
                _ANY_TASK,
                inputs={name: value or "" for name, value in spec.inputs},
                options=WorkflowOptions(),
            )

    def _run_problem(self, entry: Entry) -> Problem | None:
        def check() -> None:
            spec = self._client.workflow(entry.workflow or "")
            check_list_task(spec, entry.task)
            resolve_inputs(spec, entry.inputs)

        if self._known[_signature(entry)] is not None:
            return None
        has = f"{entry.workflow} task={bool((entry.task or '').strip())} {sorted(entry.inputs)}"
        return self._once(has, check)

    def _once(self, what: str, check: Callable[[], object]) -> Problem | None:
        if what not in self._known:
            self._known[what] = _problem_of("", check)
        return self._known[what]


def _signature(entry: Entry) -> str:
    return json.dumps([entry.agent, entry.workflow, dict(entry.options)], sort_keys=True)


def _problem_of(place: str, check: Callable[[], object]) -> Problem | None:
    try:
        check()
    except InputError as error:
        inner = error.details.get("problems") or []
        message = error.message.splitlines()[0] + "".join(f" {one['message']};" for one in inner[:3])
        return Problem(None, place, message, None if inner else error.hint)
    return None
