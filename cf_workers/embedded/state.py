"""Which files does an embedded server leave on the disk, and where?"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from cf_workers.errors import ServerUnreachableError
from cf_workers.whole_file import replace_file

HINT = "set CF_WORKERS_REDIS_URL to a Redis or Valkey server of your own"
PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600


@dataclass(frozen=True)
class Address:
    """Where the server listens, and which process it is.

    Args:
        started: when the process started, as the system writes it; tells it from a later one of the same id.
        ready: whether it has answered; a port alone may belong to somebody else by now.
    """

    port: int
    pid: int
    started: str | None
    ready: bool


@dataclass(frozen=True)
class StateDir:
    """The folder of one project's server; only its user can read it."""

    path: Path

    @property
    def start_lock(self) -> Path:
        """Held by the one command that is joining or starting."""
        return self.path / "start.lock"

    @property
    def users_lock(self) -> Path:
        """Shared by every process that uses the server."""
        return self.path / "users.lock"

    @property
    def guard_lock(self) -> Path:
        """Held by the guardian for its life."""
        return self.path / "guard.lock"

    @property
    def data_lock(self) -> Path:
        """Held by the server itself: two servers never write the same data."""
        return self.path / "data.lock"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "server.log"

    def address(self) -> Address | None:
        """What the guardian wrote last; `None` when there is nothing usable."""
        try:
            return Address(**json.loads((self.path / "address.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def write_address(self, address: Address) -> None:
        self._replace("address.json", json.dumps(asdict(address)))

    def password(self) -> str:
        """The server's password, made once."""
        file = self.path / "password"
        if not file.exists():
            self._replace(file.name, secrets.token_hex(24))
        return file.read_text().strip()

    def url(self, port: int) -> str:
        return f"redis://:{self.password()}@127.0.0.1:{port}/0"

    def _replace(self, name: str, text: str) -> None:
        """Writes a private file whole or not at all."""
        replace_file(self.path / name, text.encode())


def state_dir_for(project: Path, environ: Mapping[str, str]) -> Path:
    """The private folder of a project's server, made when it is not there yet.

    `$XDG_STATE_HOME/cf_workers/<digest of the project's path>`, else below `~/.local/state`; below the
    temporary folder where neither can be written to (a container without a home, for example).

    Raises:
        ServerUnreachableError: no folder could be made, or it belongs to somebody else.
    """
    problems = []
    for base in _bases(environ):
        try:
            return _private_folder(base, _digest(project))
        except OSError as error:
            problems.append(f"{base}: {error.strerror or error}")
    raise ServerUnreachableError(
        f"no folder for the embedded server can be made ({'; '.join(problems)})", {"hint": HINT}
    )


def existing_state_dir(project: Path, environ: Mapping[str, str]) -> Path | None:
    """The folder of `state_dir_for` if it is there already; nothing is made."""
    for base in _bases(environ):
        with contextlib.suppress(OSError):
            if (base / _digest(project)).exists():
                return _private_folder(base, _digest(project))
    return None


def _digest(project: Path) -> str:
    return hashlib.sha256(os.fsencode(project.resolve())).hexdigest()[:16]


def _bases(environ: Mapping[str, str]) -> list[Path]:
    configured = environ.get("XDG_STATE_HOME", "")
    bases = []
    if Path(configured).is_absolute():
        bases.append(Path(configured) / "cf_workers")
    elif home := environ.get("HOME"):
        bases.append(Path(home) / ".local" / "state" / "cf_workers")
    return [*bases, Path(tempfile.gettempdir()) / f"cf_workers-{os.getuid()}"]


def _private_folder(base: Path, digest: str) -> Path:
    base.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    folder = base / digest
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    for each in (base, folder):
        _refuse_what_others_own(each)
    folder.chmod(PRIVATE_FOLDER)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(0, "is not writable")
    return folder


def _refuse_what_others_own(folder: Path) -> None:
    """A folder that somebody else made in a shared place could hand us a server of theirs."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(0, "is not a folder of this user")
