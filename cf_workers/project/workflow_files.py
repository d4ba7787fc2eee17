"""What does a workflow outside the project file declare, in a file of its own or as a mapping?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cf_workers.project.files import FileTexts
from cf_workers.project.problems import project_error
from cf_workers.project.project import Project, unknown_agents
from cf_workers.project.source import Source
from cf_workers.project.workflows import read_workflow
from cf_workers.workflows.spec import WorkflowSpec


class _WorkflowSource(Source):
    """A workflow is an object with steps or a list of agents; which, is for its reader to say."""

    def _accept(self, raw: Any) -> Any:
        return raw


def read_workflow_file(path: Path, project: Project) -> WorkflowSpec:
    """A workflow that can be run with the project's agents; it bears the file's name.

    Raises:
        ConfigError: the file cannot be read, or is not JSON.
        ProjectError: it has problems; all of them are named, each with its line.
    """
    source = _WorkflowSource(path, FileTexts().read(path))
    reading = read_workflow(path.stem, source.raw, "", str(path))
    unknown = [replace(problem, file=str(path)) for problem in unknown_agents(reading.agents, project)]
    problems = [*source.duplicates, *reading.problems, *unknown]
    if reading.spec is None or problems:
        located = [replace(one, line=source.line(one.place)) if one.line is None else one for one in problems]
        raise project_error(
            f"the workflow {path.stem!r}", sorted(located, key=lambda problem: problem.line or 0)
        )
    return reading.spec


def read_workflow_mapping(raw: Mapping[str, Any]) -> WorkflowSpec:
    """A workflow as a program has it; it bears the name that it holds.

    Raises:
        ProjectError: it has problems; all of them are named.
    """
    name = str(raw.get("name") or "workflow")
    reading = read_workflow(name, raw, "")
    if reading.spec is None:
        raise project_error(f"the workflow {name!r}", reading.problems)
    return reading.spec
