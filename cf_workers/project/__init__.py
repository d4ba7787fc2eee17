"""The project file: where it lies, what it declares, and everything that is wrong with it."""

from __future__ import annotations

from cf_workers.project.agents import AgentEntry
from cf_workers.project.budgets import BudgetsSection
from cf_workers.project.freshness import ProjectCache, current_project
from cf_workers.project.locate import find_project
from cf_workers.project.migration import migrate
from cf_workers.project.problems import Problem
from cf_workers.project.project import Project, check_agents, load_project
from cf_workers.project.sections import CacheSection, Features, PerformanceSection
from cf_workers.project.workflow_files import read_workflow_file, read_workflow_mapping

__all__ = [
    "AgentEntry",
    "BudgetsSection",
    "CacheSection",
    "Features",
    "PerformanceSection",
    "Problem",
    "Project",
    "ProjectCache",
    "check_agents",
    "current_project",
    "find_project",
    "load_project",
    "migrate",
    "read_workflow_file",
    "read_workflow_mapping",
]
