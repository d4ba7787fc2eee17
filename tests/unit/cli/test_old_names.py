"""Scripts that call the older command line go on to work, and are told the new names."""

import json

import pytest

from cf_workers.cli.program import OLD_NAMES
from tests.support.projects import write_project


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_project(tmp_path, "writer", "tester", workflows={"pair": ["writer", "tester"]})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (("list", "agents"), ("agents", "list")),
        (("list", "workflows"), ("workflow", "list")),
        (("info", "writer"), ("agents", "show", "writer")),
    ],
)
def test_an_old_name_prints_what_the_new_one_prints_and_says_so(cf, project, old, new):
    told, now = cf(*old, "--json"), cf(*new, "--json")

    assert json.loads(told.stdout) == json.loads(now.stdout)
    assert f"is now `{' '.join(new[:2])}`" in told.stderr


def test_a_task_given_as_an_option_is_the_task(cf, project):
    refused = cf("run", "agent", "wrtier", "--task", "Say hello")

    assert refused.exit_code == 2
    assert "`run agent` is now `execute`" in refused.stderr
    assert "'writer'" in refused.stderr


def test_a_workflow_runs_under_its_old_name(cf, project):
    refused = cf("run", "workflow", "pari", "--task", "Say hello")

    assert refused.exit_code == 2
    assert "'pair'" in refused.stderr


def test_old_names_are_not_in_the_help(cf):
    text = cf("--help").stdout.split("Commands")[1]

    assert not [name for name in OLD_NAMES if f"\n  {name} " in text]
