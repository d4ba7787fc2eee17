"""What README and guides tell a reader to type is typed here, in a copy of the examples' project."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys

import pytest

from cf_workers.planning import check_project
from cf_workers.project import load_project
from cf_workers.settings import load_settings
from tests.support import documents
from tests.support.environ import ROOT, clean_environ

pytestmark = pytest.mark.integration

NOT_RUN_HERE = {
    r"^\./scripts/(demo|test|setup)": "install or test the whole checkout",
    r"^pip install ": "changes the environment of the tests",
    r"^python3 -m venv ": "makes an environment",
    r"^export |^cd ": "sets the scene for what follows",
    r"^docker ": "there is no container engine",
    r"^kubectl ": "there is no cluster",
    r"^cf-workers up": "runs until it is stopped; started by test_local_stack.py",
    r"^cf-workers cache warm ": "the shared worker keeps no answers; run by test_response_cache.py",
    r"^cf-workers simulate-api": "runs until it is stopped; started by test_simulator.py",
    r"^celery -A cf_workers (worker|beat|flower)": "runs until it is stopped; started by most other tests",
    r"^python \.\./enqueue\.py": "run by test_examples.py",
    r"^eval ": "belongs into a shell's start-up file",
}
"""Commands of `bash` blocks: those of `console` blocks are all run."""

PATIENCE = 240


def pages(language):
    found = [page for page in documents.PAGES if documents.blocks(page, language)]
    return pytest.mark.parametrize("page", found, ids=[str(page.relative_to(ROOT)) for page in found])


@pytest.fixture
def desk(stack, house, tmp_path):
    """A reader's place: the examples' project, our commands on the path, the shared worker."""
    shutil.copytree(ROOT / "examples" / "project" / ".claude", house.file.parent, dirs_exist_ok=True)
    shutil.copytree(ROOT / "examples" / "project", tmp_path / "project")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name, module in (("cf-workers", "cf_workers"), ("cfw", "cf_workers"), ("celery", "celery")):
        command = bin_folder / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    (bin_folder / "python").symlink_to(sys.executable)
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    environ = clean_environ(tmp_path, stack.environ) | {"PATH": path, "COLUMNS": "200"}

    def run(*argv):
        return subprocess.run(
            argv,
            cwd=tmp_path / "project",
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    run.home = tmp_path
    with stack.redis() as server:
        server.config_set("appendonly", "yes")  # as the guides say it should be
        yield run
        server.config_set("appendonly", "no")


@pages("console")
def test_commands_do_what_the_page_shows(page, desk):
    typed = [command for block in documents.blocks(page, "console") for command in documents.commands(block)]
    lines = [
        f"{{ {one.text}\n}} >'{desk.home}/{n}.out' 2>&1; echo $? >'{desk.home}/{n}.code'"
        for n, one in enumerate(typed)
    ]

    ended = desk("bash", "-c", "\n".join(lines))

    assert ended.returncode == 0, ended.stderr
    for number, command in enumerate(typed):
        printed = (desk.home / f"{number}.out").read_text()
        code = int((desk.home / f"{number}.code").read_text())
        assert code == command.code, f"$ {command.text}\n{printed}"
        assert not documents.missing(command, printed), f"$ {command.text}\n{printed}"


@pages("python")
def test_programs_run(page, desk):
    for block in documents.blocks(page, "python"):
        ended = desk(sys.executable, "-c", block.text)

        assert ended.returncode == 0, f"{block}: {ended.stderr}"


@pages("py")
def test_fragments_of_programs_compile(page):
    for block in documents.blocks(page, "py"):
        compile(block.text, str(block), "exec")


@pages("json")
def test_projects_have_no_problem(page, tmp_path):
    example = json.loads((ROOT / "examples/project/.claude/claude.json").read_text())
    for number, block in enumerate(documents.blocks(page, "json")):
        document = json.loads(block.text)
        home = tmp_path / str(number)
        shutil.copytree(ROOT / "examples/project/.claude", home)
        shown = {"workflows": example["workflows"]} | document
        shown["agents"] = example["agents"] | document.get("agents", {})
        for agent in shown["agents"].values():
            (home / (agent.get("file") or agent["path"])).touch()
        file = home / "claude.json"
        file.write_text(json.dumps(shown))
        project = load_project(file)

        check_project(project, load_settings(project, {}))


@pages("bash")
def test_what_is_not_run_is_in_the_table_with_its_reason(page):
    for block in documents.blocks(page, "bash"):
        for line in documents.script_lines(block):
            assert any(re.search(pattern, line) for pattern in NOT_RUN_HERE), f"{block}: {line}"


def test_the_table_of_what_is_not_run_has_no_row_too_many():
    lines = [
        line
        for page in documents.PAGES
        for block in documents.blocks(page, "bash")
        for line in documents.script_lines(block)
    ]
    unused = [pattern for pattern in NOT_RUN_HERE if not any(re.search(pattern, line) for line in lines)]

    assert unused == []


@pytest.mark.parametrize("page", documents.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_ours_that_is_named_exists_with_its_options(page):
    for command in documents.own_commands(page):
        documents.parse(command)


def test_the_guides_build_without_a_warning(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (tmp_path / "index.html").is_file()


def test_what_the_readme_points_to_is_there():
    targets = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())

    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
