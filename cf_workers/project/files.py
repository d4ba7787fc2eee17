"""What does a file hold right now, without reading it again when it did not change?"""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

from cf_workers.errors import ConfigError

MAX_BYTES = 64 * 1024 * 1024

_ATTEMPTS = 3
_CLOCK_TICK_NS = 100_000_000
"""Two writes closer than a tick of the file system's clock can leave equal time stamps."""

Stamp = tuple[int, int, int, int]


class FileTexts:
    """Texts of files, each kept until its file changes. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Path, tuple[Stamp, str]] = {}

    def read(self, path: Path) -> str:
        """The file as UTF-8, without a byte order mark, line ends as they are.

        Raises:
            ConfigError: it is not there, not an ordinary file, not readable, too large or not UTF-8.
        """
        try:
            stamp = _stamp(os.stat(path))
            with self._lock:
                kept = self._kept.get(path)
            if kept is not None and kept[0] == stamp:
                return kept[1]
            return self._read_again(path)
        except OSError as error:
            reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror
            raise ConfigError(f"{path} cannot be read: {reason}") from None
        except ValueError:
            raise ConfigError(f"{str(path)!r} is not the path of a file") from None

    def _read_again(self, path: Path) -> str:
        stamp, content = _stable_content(path)
        text = _decoded(path, content)
        with self._lock:
            if time.time_ns() - max(stamp[:2]) > _CLOCK_TICK_NS:
                self._kept[path] = (stamp, text)
            else:
                self._kept.pop(path, None)
        return text


def _stable_content(path: Path) -> tuple[Stamp, bytes]:
    """The content between two equal stamps, so that no half of an edit is taken for the whole."""
    for _ in range(_ATTEMPTS):
        # Opening a pipe would wait for a writer; without blocking it can be looked at and refused.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            before = os.fstat(file.fileno())
            _check_ordinary(path, before)
            content = file.read()
            after = os.fstat(file.fileno())
        if _stamp(before) == _stamp(after):
            break
    return _stamp(after), content


def _check_ordinary(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path} cannot be read: it is not an ordinary file")
    if status.st_size > MAX_BYTES:
        raise ConfigError(f"{path} cannot be read: it is larger than {MAX_BYTES // 1024**2} MB")


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path} is not UTF-8: byte {content[error.start]:#04x} in line {line}",
            {"hint": "save it as UTF-8", "line": line},
        ) from None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
