"""A real project, written for the system before this one, runs unmodified on a worker that has no project."""

import json
import os
import re
from pathlib import Path

import pytest

from cf_workers.project import load_project
from tests.support.stack import ProjectFolder, system_text, user_text

BESIDE_THE_CHECKOUT = Path(__file__).parents[2].parent / "shared/data/claude-force-project"
ROOT = Path(os.environ.get("CF_WORKERS_TEST_PROJECT", BESIDE_THE_CHECKOUT))
FILE = ROOT / ".claude/claude.json"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not FILE.is_file(), reason="needs a Claude Force project: CF_WORKERS_TEST_PROJECT"),
]


class RealProject(ProjectFolder):
    def __init__(self):
        self.root, self.file = ROOT, FILE
        self.raw = json.loads(FILE.read_text("utf-8"))

    def texts(self, agent):
        """Definition and contract of an agent, read by nobody's loader."""
        entry = self.raw["agents"][agent]
        paths = [FILE.parent / entry[name] for name in ("file", "contract") if entry.get(name)]
        return [path.read_text("utf-8") for path in paths if path.is_file()]


def test_its_workflows_run_to_the_end_and_every_prompt_holds_the_whole_agent(own_stack, tmp_path):
    real = RealProject()
    own_stack.worker(cwd=tmp_path)
    assert not (tmp_path / ".claude").exists()
    client = own_stack.client(real)

    names = ("full-stack-feature", "bug-fix", "crypto-trading-bot")
    runs = {name: client.start_workflow(name, f"Do the work of {name}") for name in names}

    for name, run in runs.items():
        result = run.result(timeout=60)
        agents = real.raw["workflows"][name]
        assert result.status == "succeeded"
        assert [one.agent for one in result.results.values()] == agents
        assert result.execution_order == list(result.results)
        calls = own_stack.calls(f"Do the work of {name}\\n")
        assert len(calls) == len(agents)
        before = None
        for call, agent, step in zip(calls, agents, result.execution_order, strict=True):
            assert system_text(call) == real.texts(agent)
            assert re.findall(r'output of step "([^"]+)" by', user_text(call))[:1] == (
                [before] if before else []
            )
            before = step
    assert len(own_stack.calls()) == sum(len(real.raw["workflows"][name]) for name in names)
    assert load_project(FILE).problems == []
