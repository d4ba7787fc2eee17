"""What does a file of executions and workflows say, one a line, and what is wrong with it?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from cf_workers.errors import InputError, ProjectError
from cf_workers.project.fields import Fields, is_number, is_unicode, kind
from cf_workers.project.problems import Problem, Report, at, did_you_mean
from cf_workers.workflows.spec import StepSpec, WorkflowSpec

EXECUTION_KEYS = (
    "id",
    "agent",
    "task",
    "model",
    "max_tokens",
    "timeout_seconds",
    "max_retries",
    "cacheable",
)
RUN_KEYS = ("id", "workflow", "task", "inputs", "timeout_seconds")
LONGEST_LINE = 16 * 1024 * 1024
MOST_STEPS = 10_000
"""Lines of a file that becomes one run: a run's record is read as a whole."""

_PROBLEMS_KEPT = 1_000


@dataclass(frozen=True)
class Entry:
    """One line, read.

    Args:
        line: its number in the file, from 1.
        id: what the author calls it; it comes back in the output.
        agent: of an execution; `None` for a run of a workflow.
        options: of an execution, as `Client.submit` takes them; of a run, its time-out.
    """

    line: int
    id: str | int | None
    agent: str | None
    workflow: str | None
    task: str | None
    inputs: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RawLine:
    """One line that is not blank.

    Args:
        offset: where it begins in the file, in bytes.
    """

    number: int
    offset: int
    text: bytes


def raw_lines(file: BinaryIO, digest: hashlib._Hash | None = None) -> Iterator[RawLine]:
    """The lines that are not blank.

    Args:
        digest: fed with all bytes that were read.

    Raises:
        InputError: a line is longer than anybody's task can be.
    """
    offset = 0
    for number, text in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
        if len(text) > LONGEST_LINE:
            raise InputError(f"line {number} is longer than {LONGEST_LINE // 1024**2} MB")
        if digest is not None:
            digest.update(text)
        if text.strip():
            yield RawLine(number, offset, text)
        offset += len(text)


def read_entry(raw: RawLine, path: Path) -> tuple[Entry | None, list[Problem]]:
    """Read one line; it is `None` when there are problems. Whether what it names exists is not asked here."""
    report = _LineReport(str(path), raw.number)
    try:
        found = json.loads(raw.text.decode("utf-8-sig" if raw.number == 1 else "utf-8"))
    except UnicodeDecodeError:
        report.add("", "is not UTF-8", "save the file as UTF-8")
        return None, report.problems
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        report.add("", f"is not JSON: {reason}", "write one object on one line")
        return None, report.problems
    if not isinstance(found, dict):
        report.add("", f"must be an object, not {kind(found)}", 'write {"agent": …, "task": …}')
        return None, report.problems
    entry = _entry(raw.number, found, report)
    return (None if report.problems else entry), report.problems


class _LineReport(Report):
    """Says the line of whatever is wrong."""

    def __init__(self, file: str, line: int) -> None:
        super().__init__(file)
        self._line = line

    def add(self, place: str, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(self.file, place, message, hint, self._line))


def _entry(line: int, found: Mapping[str, Any], report: Report) -> Entry | None:
    keys = Fields(found, "", report)
    is_run = "workflow" in keys
    if is_run and "agent" in keys:
        report.add("", "has both 'agent' and 'workflow'", "keep one of them")
        return None
    if not is_run and "agent" not in keys:
        report.add("", "names neither an agent nor a workflow", 'write {"agent": …, "task": …}')
        return None
    known = RUN_KEYS if is_run else EXECUTION_KEYS
    for key in found:
        if key not in known:
            hint = did_you_mean(key, known) or f"keys are {', '.join(known)}"
            report.add(at("", key), f"{key[:80]!r} is not a key of such a line", hint)
    task = found.get("task")
    if not is_run and (task is None or (isinstance(task, str) and not task.strip())):
        report.add("task", "is missing or empty", "say what the agent is to do")
    return Entry(
        line=line,
        id=_id(found.get("id"), report),
        agent=keys.name("agent"),
        workflow=keys.name("workflow"),
        task=keys.text("task") or None,
        inputs=_inputs(keys, report) if is_run else {},
        options=_options(keys, is_run),
    )


def _options(keys: Fields, is_run: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"timeout_seconds": keys.positive("timeout_seconds")}
    if not is_run:
        options |= {
            "model": keys.name("model"),
            "max_tokens": keys.whole("max_tokens", 1),
            "max_retries": keys.whole("max_retries", 0),
            "cacheable": keys.flag("cacheable"),
        }
    return {name: value for name, value in options.items() if value is not None}


def _id(value: object, report: Report) -> str | int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and is_unicode(value):
        return value
    report.add("id", f"must be a string or a whole number, not {kind(value)}")
    return None


def _inputs(keys: Fields, report: Report) -> dict[str, str]:
    values = {}
    for name, value in (keys.object("inputs") or {}).items():
        if isinstance(value, bool) or is_number(value):
            values[name] = json.dumps(value)
        elif isinstance(value, str) and is_unicode(value):
            values[name] = value
        else:
            report.add(at("inputs", name), f"must be a string, a number, true or false, not {kind(value)}")
    return values


def batch_error(path: Path, problems: Sequence[Problem]) -> ProjectError:
    """One error for all that is wrong with a file; nothing of it was sent."""
    shown = [problem.as_dict() for problem in problems[:_PROBLEMS_KEPT]]
    lines = len({problem.line for problem in problems})
    more = f", the first {_PROBLEMS_KEPT} of them are named" if len(problems) > _PROBLEMS_KEPT else ""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return ProjectError(
        f"{path} cannot be used: {count} in {lines} of its lines{more}",
        {"problems": shown, "hint": "nothing was sent; mend these lines and start again"},
    )


def batch_workflow(name: str, path: Path) -> WorkflowSpec:
    """A file of executions as one workflow, each line a step of its own that waits for nothing.

    Raises:
        InputError: the file cannot be read.
        ProjectError: it cannot be used that way; all problems are named, each with its line.
    """
    steps: list[StepSpec] = []
    problems: list[Problem] = []
    with opened(path) as file:
        for raw in raw_lines(file):
            entry, wrong = read_entry(raw, path)
            problems += wrong
            if entry is not None and entry.agent is None:
                message = "is a workflow: a scheduled file holds executions only"
                problems.append(Problem(str(path), "", message, "schedule the workflow itself", raw.number))
            elif entry is not None:
                steps.append(
                    StepSpec(
                        f"{raw.number}-{entry.agent}", cast("str", entry.agent), entry.task, **entry.options
                    )
                )
    if len(steps) > MOST_STEPS:
        message = f"has {len(steps)} executions; one run takes {MOST_STEPS} at most"
        problems.append(Problem(str(path), "", message, "split the file, or run it with `cf-workers batch`"))
    if problems or not steps:
        raise batch_error(path, problems or [Problem(str(path), "", "holds no execution")])
    return WorkflowSpec(name=name, steps=tuple(steps))


def opened(path: Path) -> BinaryIO:
    """The file, for reading.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path} is not an ordinary file", {"hint": "lines are read more than once"})
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
