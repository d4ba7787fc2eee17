"""A real project, written for the system before this one, loads unmodified."""

import os
from pathlib import Path

import pytest

from cf_workers.project import current_project, load_project, migrate
from cf_workers.workflows.graph import Graph

BESIDE_THE_CHECKOUT = Path(__file__).parents[3].parent / "shared/data/claude-force-project"
ROOT = Path(os.environ.get("CF_WORKERS_TEST_PROJECT", BESIDE_THE_CHECKOUT))
FILE = ROOT / ".claude/claude.json"

pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="needs a Claude Force project: CF_WORKERS_TEST_PROJECT"
)


def test_it_has_no_problems():
    project = load_project(FILE)

    assert project.problems == []
    assert (len(project.agent_names), len(project.workflow_names)) == (30, 11)


def test_every_agent_loads_with_its_text_and_contract():
    project = current_project(FILE)

    agents = [project.agent(name) for name in project.agent_names]

    sizes = [len((agent.text + (agent.contract or "")).encode()) for agent in agents]
    assert 4_000 < min(sizes) <= max(sizes) < 45_000
    assert len({agent.digest for agent in agents}) == 30
    assert [agent.priority for agent in agents] == sorted(agent.priority for agent in agents)


def test_every_workflow_is_a_chain_that_can_be_run():
    project = load_project(FILE)

    specs = [project.workflow(name) for name in project.workflow_names]

    assert max(len(spec.steps) for spec in specs) == 14
    for spec in specs:
        graph = Graph({step.id: step.dependencies for step in spec.steps})
        assert graph.order == tuple(step.id for step in spec.steps)
        assert len(graph.critical_path({})[0]) == len(spec.steps)


def test_it_keeps_what_is_not_ours_and_migrates():
    project = load_project(FILE)

    new, changes = migrate(project.raw)

    assert list(new)[: len(project.raw)] == list(project.raw)
    assert {"governance", "rules", "paths"} <= set(new)
    assert len(changes) == 2
