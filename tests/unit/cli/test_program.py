import json
import subprocess
import sys
from typing import get_args

import click
import pytest

from cf_workers import __version__
from cf_workers.cli.program import COMMANDS, program
from cf_workers.cli.session import LANES, asks_for_json
from cf_workers.workflows.spec import Lane
from tests.support import clean_environ

HEAVY = ("anthropic", "celery", "kombu", "pydantic", "redis", "rich", "tornado", "genai_prices", "asyncio")
MODULES_OF_HELP = """
import sys
from cf_workers.cli.program import program
try:
    program(sys.argv[1:])
except SystemExit as end:
    assert end.code == 0, end.code
print("LOADED", *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["execute", "--help"], ["runs", "--help"], ["batch", "--help"]]
)
def test_help_loads_nothing_that_takes_time(words, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", MODULES_OF_HELP, *words],
        capture_output=True,
        text=True,
        env=clean_environ(tmp_path),
        timeout=30,
        check=True,
    )

    loaded = set(done.stderr.split("LOADED ")[1].split())
    assert "click" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_explains_itself(name, cf):
    command = program.get_command(click.Context(program), name)

    assert command.name == name
    assert cf(name, "--help").exit_code == 0
    assert COMMANDS[name][1] in cf("--help").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_common_options(name, cf):
    text = cf(name, "--help").stdout

    assert "--json" in text
    assert "--config" in text


def test_the_lanes_of_the_options_are_those_of_steps():
    assert get_args(Lane) == LANES


def test_the_version_is_that_of_the_package(cf):
    assert __version__ in cf("--version").stdout


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["exekute"], "execute"),
        (["runs", "lst"], "list"),
        (["workflow", "pla"], "plan"),
        (["help"], "--help"),
        (["agents", "help"], "--help"),
    ],
)
def test_a_misspelt_command_gets_a_suggestion(words, meant, cf):
    result = cf(*words)

    assert result.exit_code == 2
    assert f"did you mean {meant!r}?" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("group", ["agents", "cache", "config", "runs", "workflow"])
def test_the_help_of_a_group_breaks_no_sentence_off(group, cf):
    commands = cf(group, "--help").stdout.split("Commands:")[1]

    assert "..." not in commands
    assert "show" in commands or "stats" in commands


@pytest.mark.parametrize("json_option", [["--json"], ["--format", "json"], ["--format=json"]])
def test_wrong_usage_is_one_json_document_where_json_is_asked_for(json_option, cf):
    result = cf("execute", "linter", "x", "--nonsense", *json_option)

    document = json.loads(result.stdout)
    assert result.exit_code == 2
    assert document["success"] is False
    assert document["error"]["type"] == "UsageError"
    assert "--nonsense" in document["error"]["message"]
    assert set(document["error"]) >= {"type", "message", "hint"}


@pytest.mark.parametrize(
    "words", [["agents", "--json", "list"], ["--json", "agents", "list"], ["agents", "list", "--json"]]
)
def test_json_may_be_asked_for_anywhere(words, cf):
    assert next(agent["name"] for agent in cf.document(*words)["agents"]) == "linter"


def test_what_follows_two_dashes_is_no_option():
    assert asks_for_json(["execute", "a", "--format", "json"])
    assert not asks_for_json(["execute", "a", "--", "--json"])
    assert not asks_for_json(["execute", "a", "--format", "text"])


def test_a_project_file_that_is_not_there_is_named(cf):
    result = cf("agents", "list", "--config", "nowhere/claude.json")

    assert result.exit_code == 2
    assert "nowhere/claude.json" in result.stderr


def test_the_project_may_be_named(cf, tmp_path):
    other = tmp_path / "other.json"
    other.write_text('{"agents": {}, "workflows": {"w": []}}')

    assert [
        w["name"] for w in cf.document("workflow", "list", "--config", str(other), "--json")["workflows"]
    ] == ["w"]


def test_no_project_at_all_says_where_it_was_looked_for(cf):
    cf.project.unlink()

    result = cf("agents", "list")

    assert result.exit_code == 2
    assert ".claude/claude.json" in result.stderr
    assert "--config" in result.stderr


@pytest.mark.parametrize("words", [[], ["runs"], ["config"]])
def test_too_few_words_explain_what_there_is(words, cf):
    """In a process of its own: `cf-workers` alone has no words at all."""
    done = subprocess.run(
        [sys.executable, "-m", "cf_workers", *words],
        capture_output=True,
        text=True,
        env=clean_environ(cf.home),
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Usage: {' '.join(['cf-workers', *words])} [OPTIONS] COMMAND")
