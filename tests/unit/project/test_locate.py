"""The project file is looked for in three places, in order."""

import pytest

from cf_workers.errors import ConfigError
from cf_workers.project import find_project


@pytest.fixture
def places(tmp_path):
    cwd, home = tmp_path / "cwd", tmp_path / "home"
    for folder in (cwd, home):
        (folder / ".claude").mkdir(parents=True)
        (folder / ".claude" / "claude.json").write_text("{}")
    (cwd / "named.json").write_text("{}")
    (home / "named.json").write_text("{}")
    return cwd, home


def test_the_file_named_wins(places):
    cwd, home = places

    assert find_project("named.json", cwd, home) == cwd / "named.json"
    assert find_project(home / "named.json", cwd, home) == home / "named.json"
    assert find_project("~/named.json", cwd, home) == home / "named.json"


def test_the_working_directory_comes_before_home(places):
    cwd, home = places

    assert find_project(None, cwd, home) == cwd / ".claude/claude.json"
    (cwd / ".claude/claude.json").unlink()
    assert find_project("", cwd, home) == home / ".claude/claude.json"


@pytest.mark.parametrize(
    ("name", "message"), [("gone.json", "there is no project file"), (".claude", "is a folder")]
)
def test_a_named_file_that_is_not_there_is_not_replaced_by_another(places, name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        find_project(name, *places)

    assert str(places[0] / name) in str(caught.value)


def test_finding_nothing_says_where_was_looked(tmp_path):
    with pytest.raises(ConfigError) as caught:
        find_project(None, tmp_path / "a", tmp_path / "b")

    assert str(tmp_path / "a/.claude/claude.json") in str(caught.value)
    assert str(tmp_path / "b/.claude/claude.json") in str(caught.value)
    assert "--config" in caught.value.hint
