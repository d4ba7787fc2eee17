"""A project loads whole, blocks only what is wrong, and reads agents as they are now."""

import os
import re

import pytest

from cf_workers.errors import ConfigError, ProjectError, UnknownAgentError
from cf_workers.project import load_project


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"version": "1.0.0"},
        {"agents": None, "workflows": None},
        {"name": "n", "version": "1", "agents": {}, "workflows": {}, "governance": {"hooks_enabled": True}},
    ],
)
def test_any_subset_of_the_format_loads(folder, document):
    project = folder.load(document)

    assert project.problems == []
    assert (project.agent_names, project.workflow_names) == ((), ())
    assert project.raw == document


def test_a_project_without_a_name_is_called_after_its_folder(folder):
    assert folder.load({}).name == folder.root.parent.name
    assert folder.load({"name": "Shop"}).name == "Shop"


def test_agents_are_listed_by_priority_and_then_as_declared(folder):
    agents = {"c": {"priority": 3}, "b": {}, "z": {"priority": 1}, "a": {"priority": 2}, "y": {"priority": 1}}

    project = folder.load({"agents": {name: {"file": "x.md", **raw} for name, raw in agents.items()}})

    assert project.agent_names == ("z", "y", "a", "c", "b")


def test_an_agent_is_its_whole_files_and_its_settings(folder):
    folder.add("agents/a.md", b"\xef\xbb\xbf---\r\nname: a\r\n---\r\n# \xf0\x9f\x90\x8d Python")
    folder.add("contracts/a.contract", "Rules ✅\n")
    settings = {
        "model": "m",
        "max_tokens": 9,
        "effort": "low",
        "cacheable": False,
        "timeout_seconds": 1.5,
        "max_retries": 0,
        "output_schema": {"type": "object"},
    }
    entry = {"path": "agents/a.md", "contract": "contracts/a.contract", "domains": ["python"], "priority": 2}

    agent = folder.load({"agents": {"a": {**entry, **settings, "unknown": 1}}}).agent("a")

    assert agent.text == "---\r\nname: a\r\n---\r\n# 🐍 Python"
    assert agent.contract == "Rules ✅\n"
    assert (agent.domains, agent.priority) == (("python",), 2)
    assert {key: getattr(agent, key) for key in settings} == settings


def test_an_entry_is_listed_without_its_files(folder):
    project = folder.load({"agents": {"a": {"file": "agents/missing.md", "domains": ["x"]}}})

    entry = project.entry("a")

    assert (entry.name, entry.file, entry.domains, entry.priority) == ("a", "agents/missing.md", ("x",), 3)


@pytest.mark.parametrize(
    "contract", [{}, {"contract": None}, {"contract": ""}, {"contract": "contracts/none"}]
)
def test_no_contract_is_not_an_error(folder, contract):
    folder.add("a.md", "A")

    project = folder.load({"agents": {"a": {"file": "a.md", **contract}}})

    assert project.agent("a").contract is None
    assert project.problems == []


def test_a_missing_agent_file_fails_that_agent_only(folder):
    project = folder.with_agents("good", "gone", workflows={"w": ["good"]})
    (folder.root / "agents/gone.md").unlink()

    assert project.agent("good").text == "# good"
    assert len(project.workflow("w").steps) == 1
    with pytest.raises(ProjectError, match=r"no agent file 'agents/gone.md'"):
        project.agent("gone")
    assert [(p.place, p.line) for p in project.problems] == [("agents.gone.file", 7)]


def test_an_imported_agent_is_found_in_its_folder(folder):
    folder.add("agents/imported/AGENT.md", "I")
    folder.add("contracts/imported/CONTRACT.md", "C")
    project = folder.with_agents("own")

    assert project.agent_names == ("own", "imported")
    assert project.entry("imported").imported
    assert (project.agent("imported").text, project.agent("imported").contract) == ("I", "C")


def test_an_unknown_agent_gets_a_suggestion(folder):
    project = folder.with_agents("python-expert")

    with pytest.raises(UnknownAgentError, match="'pyton-expert'") as caught:
        project.agent("pyton-expert")

    assert caught.value.hint == "did you mean 'python-expert'?"


@pytest.mark.parametrize("name", ["agent\n", "../x", "", "a b", "a/b", ".", "ä", "a\x00"])
def test_a_name_off_the_pattern_is_refused_on_use(folder, name):
    folder.add("a.md", "A")
    unregistered = folder.load({})
    registered = folder.load({"agents": {name: {"file": "a.md"}, "good": {"file": "a.md"}}})

    with pytest.raises(UnknownAgentError, match="cannot be the name of an agent"):
        unregistered.agent(name)
    with pytest.raises(ProjectError, match="cannot be the name of an agent"):
        registered.agent(name)
    assert registered.agent("good").text == "A"


@pytest.mark.parametrize("key", ["file", "contract"])
def test_a_file_outside_the_project_is_never_opened(folder, key):
    secret = folder.root.parent / "secret.md"
    secret.write_text("secret")
    folder.add("a.md", "A")
    (folder.root / "link.md").symlink_to(secret)
    (folder.root / "out").symlink_to(folder.root.parent)

    for leading_out in ("../secret.md", str(secret), "link.md", "out/secret.md"):
        project = folder.load({"agents": {"a": {"file": "a.md", key: leading_out}}})
        with pytest.raises(ProjectError, match="leads out of the project") as caught:
            project.agent("a")
        assert caught.value.problems[0]["place"] == f"agents.a.{key}"
        assert [problem.place for problem in project.problems] == [f"agents.a.{key}"]


def test_a_link_that_stays_in_the_project_is_followed(folder):
    folder.add("real/a.md", "A")
    (folder.root / "agents").symlink_to("real")

    assert folder.load({"agents": {"a": {"file": "agents/a.md"}}}).agent("a").text == "A"


def test_a_project_reached_through_a_link_keeps_its_agents(folder, tmp_path):
    folder.with_agents("a")
    (tmp_path / "alias").symlink_to(folder.root)

    project = load_project(tmp_path / "alias" / "claude.json")

    assert project.root == folder.root
    assert project.agent("a").text == "# a"


@pytest.mark.parametrize(
    ("entry", "place", "message"),
    [
        ("a.md", "", "must be an object, not a string"),
        ({}, "", "names no file"),
        ({"file": ""}, ".file", "is empty"),
        ({"file": 7}, ".file", "must be a string, not a number"),
        ({"file": "a.md", "path": "b.md"}, ".path", "differs from it"),
        ({"file": "a\x00.md"}, ".file", "not the path of a file"),
        ({"file": "x" * 5_000}, ".file", "not the path of a file"),
        ({"file": "a.md", "priority": 4}, ".priority", "from 1 to 3, not 4"),
        ({"file": "a.md", "priority": "1"}, ".priority", "whole number, not a string"),
        ({"file": "a.md", "domains": "python"}, ".domains", "must be a list"),
        ({"file": "a.md", "effort": "hihg"}, ".effort", "not 'hihg'"),
        ({"file": "a.md", "max_tokens": 0}, ".max_tokens", "at least 1"),
        ({"file": "a.md", "output_schema": []}, ".output_schema", "must be an object"),
        ({"file": "a.md", "max_token": 9}, ".max_token", "is not a key of this format"),
    ],
)
def test_a_bad_agent_blocks_only_itself(folder, entry, place, message):
    folder.add("a.md", "A")
    project = folder.load({"agents": {"bad": entry, "good": {"file": "a.md"}}})

    assert project.agent("good").text == "A"
    assert set(project.agent_names) == {"bad", "good"}
    with pytest.raises(ProjectError) as caught:
        project.agent("bad")
    assert [problem["place"] for problem in caught.value.problems] == [f"agents.bad{place}"]
    assert message in caught.value.problems[0]["message"]
    assert [problem.place for problem in project.problems] == [f"agents.bad{place}"]


@pytest.mark.parametrize(
    ("content", "message"), [(b" \n", "is empty"), (b"ok\n\xff", "not UTF-8: byte 0xff in line 2")]
)
def test_an_agent_file_that_cannot_be_sent_is_refused(folder, content, message):
    folder.add("a.md", content)

    with pytest.raises(ProjectError, match=message):
        folder.load({"agents": {"a": {"file": "a.md"}}}).agent("a")


def test_an_agent_file_that_is_a_folder_or_a_pipe_is_refused(folder):
    (folder.root / "folder.md").mkdir()
    os.mkfifo(folder.root / "pipe.md")
    project = folder.load({"agents": {"a": {"file": "folder.md"}, "b": {"file": "pipe.md"}}})

    for name in ("a", "b"):
        with pytest.raises(ProjectError, match="cannot be read"):
            project.agent(name)


def test_an_edited_agent_is_seen_at_once(folder):
    project = folder.with_agents("a")
    assert project.agent("a").text == "# a"

    folder.add("agents/a.md", "# b")

    assert project.agent("a").text == "# b"


def test_all_problems_of_a_project_come_at_once_in_the_order_of_the_file(folder):
    folder.add("a.md", "A")
    project = folder.load(
        {
            "name": 7,
            "cache": {"ttl_hours": -1},
            "agents": {"a": {"file": "a.md"}, "b": {"file": "gone.md"}, "c": {}},
            "features": {"cache_enabled": "no"},
            "workflows": {"w": ["a", "d"], "v": {"steps": [{"agent": "a", "needs": ["a"]}]}},
        }
    )

    problems = project.problems

    assert [problem.place for problem in problems] == [
        "name",
        "cache.ttl_hours",
        "agents.b.file",
        "agents.c",
        "features.cache_enabled",
        "workflows.w[1]",
        "workflows.v.steps[0].needs[0]",
    ]
    assert {problem.file for problem in problems} == {str(folder.file)}
    assert all(problem.line for problem in problems)


@pytest.mark.parametrize("section", ["agents", "workflows", "features", "cache", "performance"])
def test_a_section_of_the_wrong_type_is_a_problem(folder, section):
    (problem,) = folder.load({section: [1]}).problems

    assert (problem.place, problem.message) == (section, "must be an object, not a list")


def test_invalid_json_blocks_everything_and_says_where(folder):
    with pytest.raises(ConfigError) as caught:
        folder.load('{\n  "agents": {\n    "a": {"file": "a.md",}\n  }\n}')

    message = str(caught.value)
    assert str(folder.file) in message
    assert re.search(r"line 3, column 2[456]", message)
    assert """begins '"a": {"file": "a.md",}'""" in message


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "null", '{"a": NaN}', "[" * 200_000, "{" + '"a":{' * 200_000]
)
def test_whatever_is_not_a_project_is_refused_by_name(folder, text):
    with pytest.raises(ConfigError, match=r"claude\.json"):
        folder.load(text)


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_project_file_is_called_empty(folder, text):
    with pytest.raises(ConfigError, match=r"claude\.json is empty") as caught:
        folder.load(text)

    assert '{"version": "1.0.0"}' in caught.value.hint


def test_a_misspelt_section_is_a_problem_of_the_project_and_blocks_nothing(folder):
    folder.add("a.md", "A")
    project = folder.load({"agents": {"a": {"file": "a.md"}}, "workflow": {}, "somebody_elses": {}})

    (problem,) = project.problems

    assert (problem.place, problem.hint) == ("workflow", "did you mean 'workflows'?")
    assert project.agent("a").text == "A"


def test_a_project_file_that_is_not_utf_8_is_refused(folder):
    folder.file.write_bytes(b'{"name":\n "\xe9"}')

    with pytest.raises(ConfigError, match=r"not UTF-8: byte 0xe9 in line 2"):
        load_project(folder.file)


def test_a_byte_order_mark_is_passed_over(folder):
    folder.file.write_bytes(b'\xef\xbb\xbf{"name": "\xf0\x9f\x9a\x80"}')

    assert load_project(folder.file).name == "🚀"


def test_an_agent_declared_twice_is_a_problem_of_that_agent(folder):
    folder.add("a.md", "A")
    project = folder.load(
        '{"agents": {\n"a": {"file": "a.md"},\n"b": {"file": "a.md"},\n"a": {"file": "a.md"}}}'
    )

    (problem,) = project.problems
    assert (problem.place, problem.line) == ("agents.a", 4)
    assert problem.message == "is declared twice, first in line 2"
    assert project.agent("b").text == "A"
    with pytest.raises(ProjectError, match="declared twice"):
        project.agent("a")


def test_a_key_named_twice_in_a_step_is_a_problem_of_its_workflow(folder):
    folder.add("a.md", "A")
    project = folder.load(
        '{"agents": {"a": {"file": "a.md"}},\n"workflows": {"good": ["a"], "bad": {"steps": [\n'
        '{"agent": "a",\n "task": "x", "task": "y, {\\"[:"}]}}}'
    )

    assert project.workflow("good").steps
    with pytest.raises(ProjectError, match="declared twice") as caught:
        project.workflow("bad")
    assert caught.value.problems[0]["place"] == "workflows.bad.steps[0].task"
    assert caught.value.problems[0]["line"] == 4


def test_a_read_only_project_works_and_nothing_is_written_into_it(folder):
    folder.with_agents("a", workflows={"w": ["a"]})
    before = sorted(folder.root.rglob("*"))
    folder.file.chmod(0o444)
    (folder.root / "agents").chmod(0o555)
    folder.root.chmod(0o555)
    try:
        project = load_project(folder.file)
        assert project.agent("a").text == "# a"
        assert project.problems == []
        assert sorted(folder.root.rglob("*")) == before
    finally:
        folder.root.chmod(0o755)
        (folder.root / "agents").chmod(0o755)
