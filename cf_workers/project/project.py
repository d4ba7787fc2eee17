"""What does a project consist of?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from cf_workers.agents.choice import ChoicePolicy
from cf_workers.agents.definition import AgentDefinition
from cf_workers.errors import InputError, UnknownAgentError, UnknownWorkflowError
from cf_workers.project.agents import (
    AgentEntry,
    entry_problems,
    imported_entry,
    imported_names,
    read_definition,
    read_entry,
)
from cf_workers.project.budgets import BudgetsSection, read_budgets
from cf_workers.project.fields import Fields
from cf_workers.project.files import FileTexts
from cf_workers.project.models import read_models
from cf_workers.project.problems import (
    NAME_RULE,
    Problem,
    Report,
    at,
    is_name,
    known_names,
    project_error,
    within,
)
from cf_workers.project.schedules import missing_file, read_schedule
from cf_workers.project.schema import UNREAD
from cf_workers.project.sections import (
    CacheSection,
    Features,
    PerformanceSection,
    read_cache,
    read_features,
    read_performance,
)
from cf_workers.project.source import Source
from cf_workers.project.workflows import Placed, check_agent_name, read_workflow
from cf_workers.schedules.spec import ScheduleSpec
from cf_workers.workflows.spec import WorkflowSpec

Section = TypeVar("Section")

_READ = (
    "name",
    "agents",
    "workflows",
    "schedules",
    "features",
    "performance",
    "cache",
    "budgets",
    "models",
)
TOP_KEYS = (*_READ, *UNREAD)
"""Of the project file; others are somebody else's, unless they look like a slip of one of these."""


class Project:
    """A project file and the agents beside it.

    One bad agent blocks only itself, and so does one bad workflow. The project file is as it was when it was
    loaded; files of agents are as they are when an agent is asked for.
    """

    def __init__(self, source: Source, files: FileTexts) -> None:
        self._source = source
        self._files = files
        self._report = Report(str(source.path))
        self._top = Fields(source.raw, "", self._report)
        self._workflows: Mapping[str, Any] = self._top.object("workflows") or {}
        self._entries = {
            name: read_entry(name, raw, str(source.path))
            for name, raw in (self._top.object("agents") or {}).items()
        }
        self._schedules: Mapping[str, Any] = self._top.object("schedules") or {}
        self._title = self._top.text("name")
        self._top.warn_of_near_misses(TOP_KEYS)
        self._specs: dict[str, WorkflowSpec] = {}
        self._timetable: dict[str, tuple[ScheduleSpec | None, list[Problem]]] = {}

    @property
    def path(self) -> Path:
        """The project file."""
        return self._source.path

    @property
    def root(self) -> Path:
        """The folder that holds the project file, with symbolic links resolved."""
        return self._source.path.parent

    @property
    def folder(self) -> Path:
        """What the project is about: the folder that `.claude` is in, or the file's own."""
        return self.root.parent if self.root.name == ".claude" else self.root

    @property
    def raw(self) -> Mapping[str, Any]:
        """The whole document, unknown keys included."""
        raw: Mapping[str, Any] = self._source.raw
        return raw

    @property
    def text(self) -> str:
        """The project file as it was read."""
        return self._source.text

    @property
    def name(self) -> str:
        """The project's own name, else that of its folder."""
        folder = self.folder
        return self._title or folder.name

    @property
    def agent_names(self) -> tuple[str, ...]:
        """All agents by priority, then as declared; imported ones come last."""
        declared = sorted(self._entries, key=lambda name: self._entries[name].priority)
        imported = (name for name in imported_names(self.root) if name not in self._entries)
        return (*declared, *imported)

    @property
    def workflow_names(self) -> tuple[str, ...]:
        return tuple(self._workflows)

    def has_agent(self, name: str) -> bool:
        return self._find(name) is not None

    def entry(self, name: str) -> AgentEntry:
        """An agent as listed, without reading its files.

        Raises:
            UnknownAgentError: there is none of that name.
        """
        entry = self._find(name)
        if entry is None:
            raise self._unknown_agent(name)
        return entry

    def agent_problems(self, name: str) -> tuple[Problem, ...]:
        """Why an agent cannot be used, as far as can be said without reading its files.

        Raises:
            UnknownAgentError: there is none of that name.
        """
        entry = self.entry(name)
        found = [*self._duplicates(entry.place), *entry_problems(entry, self.root, str(self.path))]
        return tuple(self.located(found))

    def agent(self, name: str) -> AgentDefinition:
        """An agent with its files as they are now.

        Raises:
            UnknownAgentError: there is none of that name.
            ProjectError: it is declared wrongly, or a file of it cannot be used.
        """
        entry = self.entry(name)
        definition, problems = read_definition(entry, self.root, str(self.path), self._files)
        problems = [*self._duplicates(entry.place), *problems]
        if definition is None or problems:
            raise project_error(f"the agent {name!r}", self.located(problems))
        return definition

    def workflow(self, name: str) -> WorkflowSpec:
        """A workflow that can be run: its graph is sound and its agents exist.

        Raises:
            UnknownWorkflowError: there is none of that name.
            ProjectError: it has problems; all of them are named.
        """
        if name not in self._workflows:
            raise UnknownWorkflowError(
                f"there is no workflow {name!r} in {self.path}",
                {"hint": known_names(name, self.workflow_names, "the project has no workflows")},
            )
        if name not in self._specs:
            spec, problems = self._read_workflow(name)
            if spec is None or problems:
                raise project_error(f"the workflow {name!r}", self.located(problems))
            self._specs[name] = spec
        # A workflow stays as it was loaded, but agents that are not in the project file come and go.
        problems = check_agents(self._specs[name], self)
        if problems:
            raise project_error(f"the workflow {name!r}", self.located(problems))
        return self._specs[name]

    @property
    def schedule_names(self) -> tuple[str, ...]:
        return tuple(self._schedules)

    def schedule(self, name: str) -> ScheduleSpec:
        """A schedule that can tick; whether its workflow can be run is asked when it does.

        Raises:
            InputError: there is none of that name.
            ProjectError: it has problems; all of them are named.
        """
        if name not in self._schedules:
            raise InputError(
                f"there is no schedule {name!r} in {self.path}",
                {"hint": known_names(name, self.schedule_names, "the project has no schedules")},
            )
        spec, problems = self._read_schedule(name)
        if spec is None or problems:
            raise project_error(f"the schedule {name!r}", self.located(problems))
        return spec

    def _read_schedule(self, name: str) -> tuple[ScheduleSpec | None, list[Problem]]:
        if name not in self._timetable:
            self._timetable[name] = self._section(
                lambda report: read_schedule(
                    name, self._schedules[name], workflows=self.workflow_names, report=report
                )
            )
        spec, problems = self._timetable[name]
        report = Report(str(self.path))
        if spec is not None:
            missing_file(spec, self.root, report)
        return spec, [*self._duplicates(at("schedules", name)), *problems, *report.problems]

    @property
    def problems(self) -> list[Problem]:
        """Everything that is wrong with the project, in the order of the file."""
        found = [*self._source.duplicates, *self._report.problems]
        for entry in self._entries.values():
            found += entry_problems(entry, self.root, str(self.path))
        for name in self._workflows:
            found += self._read_workflow(name)[1]
        sections = (self._features, self._performance, self._cache, self._budgets, self._models)
        for _, problems in sections:
            found += problems
        for name in self._schedules:
            found += self._read_schedule(name)[1]
        located = dict.fromkeys(self.located(found))
        return sorted(located, key=lambda problem: problem.line or 0)

    @property
    def features(self) -> Features:
        """The project's switches.

        Raises:
            ProjectError: the section has problems.
        """
        return self._sound("features", *self._features)

    @property
    def performance(self) -> PerformanceSection:
        """How executions run, with the switches applied.

        Raises:
            ProjectError: the section has problems.
        """
        self._sound("features", *self._features)
        return self._sound("performance", *self._performance)

    @property
    def cache(self) -> CacheSection:
        """How answers are kept, with the switches applied.

        Raises:
            ProjectError: the section has problems.
        """
        self._sound("features", *self._features)
        return self._sound("cache", *self._cache)

    @property
    def budgets(self) -> BudgetsSection:
        """What may be spent.

        Raises:
            ProjectError: the section has problems.
        """
        return self._sound("budgets", *self._budgets)

    @property
    def models(self) -> ChoicePolicy:
        """How models are chosen where nobody names one.

        Raises:
            ProjectError: the section has problems.
        """
        return self._sound("models", *self._models)

    @cached_property
    def _features(self) -> tuple[Features, list[Problem]]:
        return self._section(lambda report: read_features(self.raw, report))

    @cached_property
    def _performance(self) -> tuple[PerformanceSection, list[Problem]]:
        return self._section(lambda report: read_performance(self.raw, self._features[0], report))

    @cached_property
    def _cache(self) -> tuple[CacheSection, list[Problem]]:
        return self._section(lambda report: read_cache(self.raw, self._features[0], report))

    @cached_property
    def _budgets(self) -> tuple[BudgetsSection, list[Problem]]:
        agents, workflows = self.agent_names, self.workflow_names
        return self._section(lambda report: read_budgets(self.raw, agents, workflows, report))

    @cached_property
    def _models(self) -> tuple[ChoicePolicy, list[Problem]]:
        return self._section(lambda report: read_models(self.raw, self.agent_names, report))

    def _section(self, read: Callable[[Report], Section]) -> tuple[Section, list[Problem]]:
        report = Report(str(self.path))
        return read(report), report.problems

    def _sound(self, name: str, section: Section, problems: list[Problem]) -> Section:
        problems = [*self._duplicates(name), *problems]
        if problems:
            raise project_error(f"the section {name!r}", self.located(problems))
        return section

    def _find(self, name: str) -> AgentEntry | None:
        return self._entries.get(name) or imported_entry(name, self.root)

    def _unknown_agent(self, name: str) -> UnknownAgentError:
        if not is_name(name):
            return UnknownAgentError(f"{name!r} cannot be the name of an agent", {"hint": NAME_RULE})
        hint = known_names(name, self.agent_names, "the project has no agents")
        return UnknownAgentError(f"there is no agent {name!r} in {self.path}", {"hint": hint})

    def _read_workflow(self, name: str) -> tuple[WorkflowSpec | None, list[Problem]]:
        place = at("workflows", name)
        reading = read_workflow(name, self._workflows[name], place, str(self.path))
        unknown = unknown_agents(reading.agents, self)
        return reading.spec, [*self._duplicates(place), *reading.problems, *unknown]

    def _duplicates(self, place: str) -> list[Problem]:
        return [problem for problem in self._source.duplicates if within(problem.place, place)]

    def located(self, problems: Iterable[Problem]) -> list[Problem]:
        """The problems with the lines of their places in the project file."""
        return [
            replace(problem, line=self._source.line(problem.place)) if problem.line is None else problem
            for problem in problems
        ]


def load_project(path: Path, files: FileTexts | None = None) -> Project:
    """Read a project file; its agents' files are read, through `files`, when they are used.

    Raises:
        ConfigError: it cannot be read, or is not a JSON object.
    """
    files = files or FileTexts()
    whole = path.parent.resolve() / path.name
    return Project(Source(whole, files.read(whole)), files)


def check_agents(spec: WorkflowSpec, project: Project, *, place: str | None = None) -> list[Problem]:
    """The agents of a workflow that the project does not have.

    `place` is where the workflow stands in its document, `workflows.NAME` unless told otherwise.
    """
    start = at("workflows", spec.name) if place is None else place
    report = Report(str(project.path))
    agents: list[Placed] = []
    for index, step in enumerate(spec.steps):
        where = at(start, index) if spec.is_list else at(at(at(start, "steps"), index), "agent")
        agents.append((where, step.agent))
        check_agent_name(where, step.agent, report)
    return [*report.problems, *unknown_agents(agents, project)]


def unknown_agents(agents: Iterable[Placed], project: Project) -> list[Problem]:
    """Those of the placed names that are no agents of the project."""
    report = Report(str(project.path))
    there: dict[str, bool] = {}
    known: tuple[str, ...] | None = None
    for place, agent in agents:
        if agent not in there:
            there[agent] = project.has_agent(agent)
        if not there[agent] and is_name(agent):
            known = project.agent_names if known is None else known
            report.add_unknown(place, f"there is no agent {agent!r} in the project", agent, known)
    return report.problems
