"""Migration adds what is missing and touches nothing else."""

import copy
import json
import tempfile

import pytest

from cf_workers.errors import ConfigError
from cf_workers.project import load_project, migrate
from cf_workers.project.migration import migrate_file, migrate_text

OLD = {"version": "1.0.0", "workflows": {"w": ["a"]}, "agents": {"a": {"file": "a.md"}}, "x": 1}


def test_missing_sections_are_added_at_the_end_with_their_defaults():
    before = copy.deepcopy(OLD)

    new, changes = migrate(OLD)

    assert list(new) == ["version", "workflows", "agents", "x", "cache", "performance"]
    assert json.dumps(new["cache"]) == (
        '{"enabled": true, "ttl_hours": 24, "max_size_mb": 100, "exclude_agents": []}'
    )
    assert (
        json.dumps(new["performance"]) == '{"async_enabled": true, "timeout_seconds": 120, "max_retries": 3}'
    )
    assert {key: new[key] for key in OLD} == before == OLD
    assert len(changes) == 2


def test_the_second_time_nothing_changes():
    once, _ = migrate(OLD)

    assert migrate(once) == (once, [])


def test_a_section_that_is_there_stays_as_it_is():
    new, changes = migrate({"cache": {"enabled": False}, "performance": None})

    assert new == {"cache": {"enabled": False}, "performance": None}
    assert changes == []


def test_a_migrated_project_means_the_same_as_before(folder):
    old, new = folder.load(OLD), folder.load(migrate(OLD)[0])

    assert new.cache.ttl_hours == old.cache.ttl_hours
    assert new.performance.timeout_seconds == old.performance.timeout_seconds
    assert new.performance.max_concurrent_agents is None


def test_what_is_not_a_project_is_refused():
    with pytest.raises(ConfigError, match="not a list"):
        migrate([])


STYLES = {
    "two blanks": '{\n  "version": "1",\n  "agents": {}\n}\n',
    "four blanks and no end of line": '{\n    "version": "1"\n}',
    "tabs": '{\n\t"version": "1"\n}\n',
    "one line": '{"version": "1"}\n',
    "empty": "{}",
    "empty on two lines": "{\n}\n",
    "windows": '{\r\n  "version": "1",\r\n  "name": "Größe 🙂"\r\n}\r\n',
    "blanks around": '\n\n{ \n\n  "version": "1"\n\n}\n\n',
    "braces in texts": '{\n  "name": "}{ \\"}"\n}',
    "one section there": '{\n  "cache": {"enabled": false}\n}',
}


@pytest.mark.parametrize("text", STYLES.values(), ids=STYLES)
def test_the_text_of_a_file_keeps_its_style_and_every_byte_that_was_there(text):
    new, changes = migrate_text(text)

    assert json.loads(new) == migrate(json.loads(text))[0]
    assert changes
    assert new.startswith(text.rstrip().removesuffix("}").rstrip())
    assert new.endswith(text[text.rindex("}") :])
    assert ("\r\n" in text) == ("\r\n" in new)
    assert "\n" not in new.replace("\r\n", "") if "\r" in text else True
    assert migrate_text(new) == (new, [])


def test_a_file_is_migrated_in_place_with_its_mode_its_mark_and_its_link(folder):
    target = folder.add("shared.json", b'\xef\xbb\xbf{\n  "version": "1"\n}\n')
    target.chmod(0o640)
    folder.file.symlink_to(target)

    assert len(migrate_file(folder.file)) == 2

    assert folder.file.is_symlink()
    assert target.read_bytes().startswith(b'\xef\xbb\xbf{\n  "version": "1",\n  "cache": {')
    assert target.stat().st_mode & 0o777 == 0o640
    assert load_project(folder.file).problems == []
    assert [path.name for path in folder.root.iterdir()].count("shared.json") == len(
        [path for path in folder.root.iterdir() if "shared" in path.name]
    )
    assert migrate_file(folder.file) == []


def test_a_folder_that_cannot_be_written_to_is_named_and_nothing_changes(folder, monkeypatch):
    before = folder.write({"version": "1"}).read_bytes()
    monkeypatch.setattr(tempfile, "mkstemp", _refuse)

    with pytest.raises(ConfigError, match="cannot write") as caught:
        migrate_file(folder.file)

    assert "nothing was changed" in caught.value.hint
    assert folder.file.read_bytes() == before


def _refuse(**_):
    raise PermissionError(13, "Permission denied")
