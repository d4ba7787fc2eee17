"""What is done of a batch, also after a crash? What stands in its output file.

Each line is appended by one write, so a crash leaves whole lines and at most one torn end, which the next
start cuts off. Beside the file, `OUT.batch` names the batch: under its name and a line's number a line is
paid once, however often the command is killed and started again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from uuid import uuid4

from cf_workers.errors import CfWorkersError, InputError
from cf_workers.whole_file import replace_file

_LINE_ENDS = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\x85": "\\u0085"}
"""JSON allows them inside a string, but many a reader takes them for the end of a line."""


@dataclass(frozen=True)
class _Named:
    """What `OUT.batch` holds.

    Args:
        input: digest of the batch file.
        ordered: lines are in the order of the batch file.
    """

    batch: str
    input: str
    ordered: bool


class BatchOutput(AbstractContextManager["BatchOutput"]):
    """The output of one batch, held by one process at a time.

    Raises:
        InputError: the file belongs to something else, is in use, or cannot be written.
    """

    def __init__(self, path: Path, input_digest: str, *, ordered: bool = False) -> None:
        self.path = path
        self._descriptor = _opened(path)
        try:
            named = self._named(input_digest, ordered)
            self._cut_torn_end()
        except BaseException:  # Ctrl-C as well: nobody else has the descriptor, and with it the lock
            os.close(self._descriptor)
            raise
        self.batch = named.batch

    def lines(self) -> Iterator[dict[str, Any]]:
        """What is written already.

        Raises:
            InputError: something in it is not of this batch.
        """
        with self.path.open("rb") as file:
            for number, text in enumerate(file, 1):
                yield self._read(number, text)

    def append(self, document: Mapping[str, Any]) -> None:
        """Write one line, whole or not at all.

        Raises:
            CfWorkersError: the disk does not take it.
        """
        text = json.dumps(document, ensure_ascii=False, default=str)
        for character, escaped in _LINE_ENDS.items():
            text = text.replace(character, escaped)
        data = text.encode(errors="backslashreplace") + b"\n"
        size = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            raise self._unwritable(error.strerror) from None
        if written < len(data):
            os.ftruncate(self._descriptor, size)
            raise self._unwritable("no space is left")

    def close(self) -> None:
        """Put everything on the disk, and let go of the file."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _named(self, input_digest: str, ordered: bool) -> _Named:
        name_file = self.path.with_name(f"{self.path.name}.batch")
        is_empty = os.fstat(self._descriptor).st_size == 0
        found = _read_name(name_file)
        if found is None or (is_empty and found.input != input_digest):
            if not is_empty:
                raise InputError(
                    f"{self.path} is not empty, and no batch that could go on",
                    {"hint": "give another name with --out, or move this file away"},
                )
            found = _Named(uuid4().hex, input_digest, ordered)
            _replace(name_file, json.dumps(asdict(found)))
        if found.input != input_digest:
            hint = "give another name with --out, or restore the batch file as it was"
            raise InputError(f"{self.path} was begun with another content of the batch file", {"hint": hint})
        if found.ordered != ordered and not is_empty:
            how = "with" if found.ordered else "without"
            raise InputError(f"{self.path} was begun {how} --ordered", {"hint": "go on the same way"})
        return found

    def _cut_torn_end(self) -> None:
        size = os.fstat(self._descriptor).st_size
        with self.path.open("rb") as file:
            end = _end_of_last_line(file, size)
        if end < size:
            os.ftruncate(self._descriptor, end)

    def _read(self, number: int, text: bytes) -> dict[str, Any]:
        try:
            found = json.loads(text)
            if isinstance(found, dict) and isinstance(found["line"], int):
                return found
        except (ValueError, KeyError):
            pass
        raise InputError(
            f"line {number} of {self.path} is no output of this batch",
            {"hint": "mend or remove that line, or give another name with --out"},
        )

    def _unwritable(self, reason: str | None) -> CfWorkersError:
        hint = "make room and start the same command again: it goes on where it stopped"
        return CfWorkersError(f"{self.path} cannot be written: {reason}", {"hint": hint})


def _opened(path: Path) -> int:
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not an ordinary file", {"hint": "a batch must be able to go on with it"})
    is_new = not path.exists()
    try:
        if is_new:  # the name of an earlier batch whose output was removed
            path.with_name(f"{path.name}.batch").unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InputError(f"another process is writing {path}", {"hint": "wait until it has ended"}) from None
    return descriptor


def _end_of_last_line(file: BinaryIO, size: int) -> int:
    """Where the last whole line ends, read from behind."""
    step = 65_536
    end = size
    while end > 0:
        begin = max(0, end - step)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def _read_name(path: Path) -> _Named | None:
    try:
        return _Named(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
