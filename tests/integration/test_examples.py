"""Every example is run as its reader would run it, against the shared worker."""

import asyncio
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys

import httpx2
import pytest

from cf_workers.planning import check_project
from cf_workers.project import load_project
from cf_workers.settings import load_settings
from tests.support.environ import ROOT, clean_environ

pytestmark = pytest.mark.integration

EXAMPLES = ROOT / "examples"
PATIENCE = 120


@pytest.fixture
def example(stack, house, tmp_path, monkeypatch):
    """Runs a program in a copy of the examples' project, which is the worker's project as well."""
    shutil.copytree(EXAMPLES / "project" / ".claude", house.file.parent, dirs_exist_ok=True)
    shutil.copytree(EXAMPLES / "project", tmp_path / "project")
    commands = tmp_path / "bin"
    commands.mkdir()
    command = commands / "cf-workers"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cf_workers "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environ = clean_environ(tmp_path, stack.environ) | {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}

    def run(*argv, **more):
        done = subprocess.run(
            [str(word) for word in argv],
            cwd=tmp_path / "project",
            env=environ | more,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    run.cwd = tmp_path / "project"
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(run.cwd)
    return run


def test_the_project_has_no_problem():
    project = load_project(EXAMPLES / "project" / ".claude" / "claude.json")

    check_project(project, load_settings(project, {}))
    assert {"code-quality-check", "release-notes", "draft-and-polish"} == {*project.workflow_names}


def test_enqueue_waits_for_one_agent_for_many_and_for_a_workflow(example):
    said = example(sys.executable, EXAMPLES / "enqueue.py", "src/")

    assert "linter: done" in said
    assert "writer: done" in said
    assert any(line.startswith("nobody: ") and "nobody" in line[8:] for line in said), said
    assert {f"step {name} succeeded" for name in ("linter", "type-checker", "final-review")} <= {*said}
    assert said[-1].startswith("code-quality-check: succeeded")
    assert said[-1].endswith("final-review")


def test_a_web_application_awaits_answers_and_starts_each_run_once(example):
    web = _module("web")

    async def visit():
        async with web.lifespan(web.app), _browser(web.app) as browser:
            answer = await browser.post("/ask/researcher", json={"task": "Say hello"})
            wrong = await browser.post("/ask/nobody", json={"task": "Say hello"})
            review = {"path": "src/web", "key": "pull-812"}
            first, second = [await browser.post("/reviews", json=review) for _ in range(2)]
            ended = await browser.get(f"/reviews/{first.json()['run']}")
            unknown = await browser.get("/reviews/none")
            return answer, wrong, first, second, ended, unknown

    answer, wrong, first, second, ended, unknown = asyncio.run(visit())

    assert answer.status_code == 200
    assert answer.json()["output"]
    assert wrong.status_code == 422
    assert first.status_code == 202
    assert first.json()["run"] == second.json()["run"]
    assert ended.json()["status"] == "succeeded"
    assert ended.json()["verdict"]
    assert unknown.status_code == 404


def test_agents_work_in_a_canvas_of_ones_own(example):
    said = example(sys.executable, EXAMPLES / "canvas.py")

    assert said == ["article: True", "verdict: True code-reviewer"]


def test_a_batch_from_cron_goes_on_where_it_stopped(example, stack):
    out = example.cwd / "results.jsonl"

    example(EXAMPLES / "nightly.sh", OUT=str(out))
    asked = len(stack.calls())
    example(EXAMPLES / "nightly.sh", OUT=str(out))

    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == ["cache", "cli", "review"]
    assert all(line["success"] for line in lines)
    assert len(stack.calls()) == asked, "what is done is not asked again"


def test_old_code_runs_with_its_import_line_changed(example):
    said = example(sys.executable, EXAMPLES / "old_code.py")

    assert said == [
        "writer True True",
        "1 researcher True",
        "2 writer True",
        "3 code-reviewer True",
        "[True, True]",
    ]


def _module(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _browser(app):
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://test", timeout=PATIENCE
    )
