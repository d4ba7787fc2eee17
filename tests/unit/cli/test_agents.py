"""`agents list` says which agents there are, and which of them can be used."""

import pytest


@pytest.fixture
def missing(cf):
    """The type-checker's file is not there."""
    file = cf.project.parent / "agents" / "type-checker.md"
    file.unlink()
    return file


def test_an_agent_whose_file_is_missing_is_marked(cf, missing):
    result = cf("agents", "list")

    rows = {line.split()[0]: line.split()[-1] for line in result.stdout.splitlines()}
    assert result.exit_code == 0
    assert rows == {
        "AGENT": "USABLE",
        "linter": "yes",
        "type-checker": "no",
        "security-scan": "yes",
        "code-reviewer": "yes",
    }
    (warned,) = result.stderr.splitlines()
    assert str(cf.project) in warned
    assert "agents/type-checker.md" in warned


def test_an_agent_whose_file_is_missing_is_marked_in_a_document_too(cf, missing):
    result = cf("agents", "list", "--json")
    found = {agent["name"]: agent for agent in cf.document("agents", "list", "--json")["agents"]}

    assert result.exit_code == 0
    assert {name: agent["usable"] for name, agent in found.items()} == {
        "linter": True,
        "type-checker": False,
        "security-scan": True,
        "code-reviewer": True,
    }
    (problem,) = found["type-checker"]["problems"]
    assert problem["place"] == "agents.type-checker.file"
    assert problem["line"] > 1


def test_an_agent_that_is_declared_wrongly_is_marked(cf):
    cf.declare(agents={"linter": {"file": "agents/linter.md", "priority": "first"}})

    (agent,) = cf.document("agents", "list", "--json")["agents"]

    assert agent["usable"] is False
    assert "priority" in agent["problems"][0]["place"]
