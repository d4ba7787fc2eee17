"""What does a project say about an agent, and which files make it up?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cf_workers.agents.definition import AgentDefinition
from cf_workers.errors import ConfigError
from cf_workers.project.fields import Fields, kind
from cf_workers.project.files import FileTexts
from cf_workers.project.keys import (
    Key,
    choice,
    flag,
    mapping,
    positive,
    read_keys,
    strings,
    text,
    whole,
    word,
)
from cf_workers.project.problems import NAME_RULE, Problem, Report, at, is_name

EFFORTS = ("low", "medium", "high", "xhigh", "max")
LOWEST_PRIORITY = 3

AGENT_KEYS: tuple[Key, ...] = (
    word("file", "The agent's Markdown file, relative to the folder of this file."),
    word("path", 'The same as "file".'),
    text("contract", "Its contract, relative to the same folder; one that is not there is no contract."),
    strings("domains", "What it is good at."),
    whole("priority", "Agents are listed by it; 1 comes first.", 1, LOWEST_PRIORITY, default=LOWEST_PRIORITY),
    word("model", "Instead of the default model."),
    whole("max_tokens", "Bound on an answer.", 1),
    choice("effort", "How much the model may think.", EFFORTS),
    flag("cacheable", "Off: its answers are never kept."),
    positive("timeout_seconds", "Bound on one attempt, in seconds."),
    whole("max_retries", "Further requests after the first.", 0),
    mapping("output_schema", "JSON Schema that its answers must fit."),
)
_SETTINGS = ("model", "max_tokens", "effort", "cacheable", "timeout_seconds", "max_retries", "output_schema")


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """An agent as listed, its files unread.

    Args:
        file: its definition, relative to the project's root; `None` if the entry names none that can be used.
        imported: found in the `agents` folder rather than in the project file.
        problems: what is wrong with the entry itself; it cannot be used then.
    """

    name: str
    file: str | None
    contract: str | None = None
    domains: tuple[str, ...] = ()
    priority: int = LOWEST_PRIORITY
    model: str | None = None
    max_tokens: int | None = None
    effort: str | None = None
    cacheable: bool | None = None
    timeout_seconds: float | None = None
    max_retries: int | None = None
    output_schema: dict[str, Any] | None = None
    imported: bool = False
    problems: tuple[Problem, ...] = ()

    @property
    def place(self) -> str:
        return at("agents", self.name)


def read_entry(name: str, raw: object, source: str) -> AgentEntry:
    """Read one agent of the project file; whatever is wrong is in its problems."""
    report = Report(source)
    place = at("agents", name)
    if not is_name(name):
        report.add(place, f"{name!r} cannot be the name of an agent", NAME_RULE)
    if not isinstance(raw, Mapping):
        report.add(place, f"must be an object, not {kind(raw)}", f'write {{"file": "agents/{name}.md"}}')
        return AgentEntry(name, None, problems=tuple(report.problems))
    keys = Fields(raw, place, report)
    values = read_keys(keys, AGENT_KEYS)
    keys.warn_of_near_misses([key.name for key in AGENT_KEYS])
    return AgentEntry(
        name=name,
        file=_file(keys, values, place, report),
        contract=values["contract"] or None,
        domains=tuple(domain for _, domain in values["domains"]),
        priority=values["priority"] or LOWEST_PRIORITY,
        **{setting: values[setting] for setting in _SETTINGS},
        problems=tuple(report.problems),
    )


def imported_entry(name: str, root: Path) -> AgentEntry | None:
    """An agent that an import left in the `agents` folder, which no project file lists."""
    file = f"agents/{name}/AGENT.md"
    if is_name(name) and (root / file).is_file():
        return AgentEntry(name, file, f"contracts/{name}/CONTRACT.md", imported=True)
    return None


def imported_names(root: Path) -> list[str]:
    """The agents that `imported_entry` finds, in the order of the alphabet."""
    folders = (file.parent.name for file in root.glob("agents/*/AGENT.md"))
    return sorted(name for name in folders if is_name(name))


def read_definition(
    entry: AgentEntry, root: Path, source: str, files: FileTexts
) -> tuple[AgentDefinition | None, list[Problem]]:
    """The whole agent, with its files as they are now; `None` when there are problems."""
    report = Report(source, list(entry.problems))
    file = _existing(entry, root, report)
    contract = _contract(entry, root, report)
    text = _read(file, at(entry.place, "file"), files, report)
    if text is not None and not text.strip():
        report.add(at(entry.place, "file"), f"the agent file {entry.file!r} is empty")
    contract_text = _read(contract, at(entry.place, "contract"), files, report)
    if text is None or report.problems:
        return None, report.problems
    settings = {name: getattr(entry, name) for name in _SETTINGS}
    definition = AgentDefinition(
        name=entry.name,
        text=text,
        contract=contract_text or None,
        domains=entry.domains,
        priority=entry.priority,
        **settings,
    )
    return definition, []


def entry_problems(entry: AgentEntry, root: Path, source: str) -> list[Problem]:
    """What is wrong with an agent as far as can be said without reading its files."""
    report = Report(source, list(entry.problems))
    _existing(entry, root, report)
    _contract(entry, root, report)
    return report.problems


def _file(keys: Fields, values: Mapping[str, Any], place: str, report: Report) -> str | None:
    """The file of an agent, which projects spell `file` or `path`."""
    file: str | None = values["file"]
    path: str | None = values["path"]
    if "file" not in keys and "path" not in keys:
        report.add(place, "names no file", 'add "file"')
    if file is not None and path is not None and file != path:
        report.add(keys.place("path"), "means the same as 'file' and differs from it", "keep one of them")
    return file or path


def _existing(entry: AgentEntry, root: Path, report: Report) -> Path | None:
    """The agent's file, reported when it is not there."""
    path = _inside(entry.file, root, at(entry.place, "file"), report)
    if path is not None and not path.exists():
        report.add(at(entry.place, "file"), f"there is no agent file {entry.file!r} in {root}")
        return None
    return path


def _contract(entry: AgentEntry, root: Path, report: Report) -> Path | None:
    """The contract's file; one that is not there means that the agent has no contract."""
    path = _inside(entry.contract, root, at(entry.place, "contract"), report)
    return path if path is not None and path.exists() else None


def _inside(relative: str | None, root: Path, place: str, report: Report) -> Path | None:
    """The real path of a file of the project; one that leaves the project is never opened."""
    if relative is None:
        return None
    try:
        path = (root / relative).resolve()
        path.exists()
    except (OSError, RuntimeError, ValueError):
        report.add(place, f"{relative[:200]!r} is not the path of a file")
        return None
    if not path.is_relative_to(root):
        report.add(place, f"{relative!r} leads out of the project", f"files must lie in {root}")
        return None
    return path


def _read(path: Path | None, place: str, files: FileTexts, report: Report) -> str | None:
    if path is None:
        return None
    try:
        return files.read(path)
    except ConfigError as error:
        report.add(place, error.message, error.hint)
        return None
