"""A file is written whole or not at all."""

import stat

import pytest

from cf_workers.whole_file import replace_file


def mode_of(file):
    return stat.S_IMODE(file.stat().st_mode)


def test_a_new_file_is_its_owner_s_alone(tmp_path):
    file = tmp_path / "address.json"

    replace_file(file, b"{}")

    assert file.read_bytes() == b"{}"
    assert mode_of(file) == 0o600


@pytest.mark.parametrize(("keep", "mode"), [(True, 0o644), (False, 0o600)])
def test_a_file_that_is_replaced_keeps_its_permissions_where_that_is_asked_for(tmp_path, keep, mode):
    file = tmp_path / "claude.json"
    file.write_text("old")
    file.chmod(0o644)

    replace_file(file, b"new", keep_mode=keep)

    assert file.read_bytes() == b"new"
    assert mode_of(file) == mode


def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path):
    place = tmp_path / "folder"
    (place / "full").mkdir(parents=True)

    with pytest.raises(OSError, match="folder"):
        replace_file(place, b"new")

    assert [one.name for one in tmp_path.iterdir()] == ["folder"]
