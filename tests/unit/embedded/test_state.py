import os
import platform
import tempfile
from pathlib import Path

import pytest

from cf_workers.embedded import probe
from cf_workers.embedded.server import valkey_binary
from cf_workers.embedded.state import Address, StateDir, existing_state_dir, state_dir_for
from cf_workers.errors import ServerUnreachableError


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(tmp_path)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine's temporary folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_project_keeps_its_folder_and_shares_it_with_no_other(tmp_path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}

    first = state_dir_for(Path("/projects/a"), environ)

    assert first == state_dir_for(Path("/projects/b/../a"), environ)
    assert first != state_dir_for(Path("/projects/b"), environ)
    assert first.parent == tmp_path / "cf_workers"


def test_who_can_do_without_a_server_makes_no_folder_for_it(tmp_path, temporary) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}

    assert existing_state_dir(Path("/p"), environ) is None
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "state").exists()

    made = state_dir_for(Path("/p"), environ)
    assert existing_state_dir(Path("/p"), environ) == made
    assert existing_state_dir(Path("/other"), environ) is None


def test_only_its_user_can_read_the_folder(tmp_path) -> None:
    folder = state_dir_for(Path("/p"), {"HOME": str(tmp_path)})

    assert folder.parent == tmp_path / ".local/state/cf_workers"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_relative_state_home_is_ignored_as_its_standard_asks(tmp_path) -> None:
    folder = state_dir_for(Path("/p"), {"XDG_STATE_HOME": "here", "HOME": str(tmp_path)})

    assert folder.is_relative_to(tmp_path)


def test_without_a_usable_home_the_folder_is_in_the_temporary_one(tmp_path, temporary) -> None:
    (tmp_path / "file").touch()

    below_a_file = state_dir_for(Path("/p"), {"HOME": str(tmp_path / "file")})
    homeless = state_dir_for(Path("/p"), {})

    assert below_a_file == homeless
    assert homeless.parent == temporary / f"cf_workers-{os.getuid()}"


def test_a_folder_that_somebody_else_may_have_prepared_is_refused(tmp_path, temporary) -> None:
    (tmp_path / "elsewhere").mkdir()
    (temporary / f"cf_workers-{os.getuid()}").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(ServerUnreachableError, match="not a folder of this user") as caught:
        state_dir_for(Path("/p"), {})

    assert "CF_WORKERS_REDIS_URL" in caught.value.hint


def test_the_password_is_made_once_and_is_private(state) -> None:
    password = state.password()

    assert len(password) == 48
    assert state.password() == password
    assert (state.path / "password").stat().st_mode & 0o777 == 0o600


def test_an_address_is_read_back_and_rubbish_is_none(state) -> None:
    address = Address(port=20001, pid=7, started="12", ready=True)
    state.write_address(address)
    assert state.address() == address

    for rubbish in ("", "[]", '{"port": 1}', "{"):
        (state.path / "address.json").write_text(rubbish)
        assert state.address() is None


def test_a_process_is_known_by_its_id_and_its_start() -> None:
    started = probe.start_time(os.getpid())

    assert started is not None
    assert started == probe.start_time(os.getpid())
    assert probe.start_time(2**22 + 1) is None


def test_a_platform_without_a_server_program_is_an_error_with_a_way_out(monkeypatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "sparc")

    with pytest.raises(ServerUnreachableError, match="sparc") as caught:
        valkey_binary()

    assert "CF_WORKERS_REDIS_URL" in caught.value.hint
