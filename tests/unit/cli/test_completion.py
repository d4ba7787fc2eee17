"""A shell completes commands, options, and the names in the project."""

import json
import subprocess
import sys

import pytest

from tests.support import clean_environ


@pytest.fixture
def complete(cf, tmp_path):
    """What bash would be offered for the last of these words; and what was loaded for that."""

    def of(*words):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "cf_workers"],
            capture_output=True,
            text=True,
            cwd=cf.home,
            env=clean_environ(
                tmp_path,
                {
                    "_CF_WORKERS_COMPLETE": "bash_complete",
                    "COMP_WORDS": " ".join(["cf-workers", *words]),
                    "COMP_CWORD": str(len(words)),
                },
            ),
            timeout=60,
            check=False,
        )
        of.loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        return [name for line in done.stdout.splitlines() if (name := line.partition(",")[2])]

    return of


def test_commands_are_completed_without_loading_them(complete):
    assert complete("run") == ["run-workflow", "runs"]
    assert not {"pydantic", "redis", "celery", "cf_workers.cli.runs"} & complete.loaded


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("runs", "e"), ["explain"]),
        (("config", ""), ["migrate", "schema", "show", "validate"]),
        (("execute", "--no-c"), ["--no-cache"]),
        (("execute", "type"), ["type-checker"]),
        (("agents", "show", "l"), ["linter"]),
        (("run-workflow", ""), ["code-quality-check", "bug-fix"]),
        (("workflow", "plan", "bug"), ["bug-fix"]),
        (("--conf",), ["--config"]),
        (("completion", "f"), ["fish"]),
    ],
)
def test_options_and_names_of_the_project_are_completed(complete, words, offered):
    assert sorted(complete(*words)) == sorted(offered)


def test_a_project_that_cannot_be_read_has_nothing_to_complete(complete, cf):
    cf.project.write_text("{")

    assert complete("execute", "l") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script_for_both_names(shell, cf):
    script = cf("completion", shell).stdout

    assert "_CF_WORKERS_COMPLETE" in script
    assert "cf-workers" in script
    assert "cfw" in script
    assert json.loads(cf("completion", shell, "--json").stdout)["script"] == script.removesuffix("\n")


def test_bash_takes_the_script(cf):
    script = cf("completion", "bash").stdout

    done = subprocess.run(
        ["bash", "--norc", "-c", f"{script}\ncomplete -p cf-workers cfw"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("complete ") == 2


def test_a_misspelt_shell_ends_with_2_and_lists_those_there_are(cf):
    result = cf("completion", "bsh")

    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr
