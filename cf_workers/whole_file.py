"""How is a file written whole or not at all? Beside its place first, and then into it by its name."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes, *, keep_mode: bool = False) -> None:
    """Put a file in place of what is there, if anything is; readers see the old one or the new one.

    Args:
        keep_mode: with the permissions of the file that is there; else it is its owner's alone.

    Raises:
        OSError: it cannot be written; what was there still is, and nothing beside it.
    """
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep_mode:
            shutil.copymode(path, temporary)
        Path(temporary).replace(path)
    except BaseException:  # Ctrl-C as well: half of a file is not left behind
        Path(temporary).unlink(missing_ok=True)
        raise
