"""What does an old project file lack?"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cf_workers.errors import ConfigError
from cf_workers.project.fields import kind
from cf_workers.project.files import FileTexts
from cf_workers.project.sections import CacheSection, PerformanceSection
from cf_workers.project.source import Source
from cf_workers.whole_file import replace_file

_FIRST_KEY = re.compile(r"\s*\{[ \t]*(?P<newline>\r?\n)(?:[ \t]*\r?\n)*(?P<indent>[ \t]+)")
_LAST_BRACE = re.compile(r"\r?\n[ \t]*$")


def migrate(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Add the sections that are missing, with their defaults; the second time nothing changes.

    Returns:
        The new document, all else as it was and in its old order, and one sentence for each change.

    Raises:
        ConfigError: it is not a project at all.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"a project must be a JSON object, not {kind(raw)}")
    missing = {name: section for name, section in _defaults().items() if name not in raw}
    changes = [f"added the section {name!r} with its defaults" for name in missing]
    return {**raw, **missing}, changes


def _defaults() -> dict[str, dict[str, Any]]:
    """No cap on concurrency is spelt by leaving `max_concurrent_agents` out."""
    cache, performance = CacheSection(), PerformanceSection()
    return {
        "cache": {
            "enabled": cache.enabled,
            "ttl_hours": _plain(cache.ttl_hours),
            "max_size_mb": _plain(cache.max_size_mb),
            "exclude_agents": list(cache.exclude_agents),
        },
        "performance": {
            "async_enabled": performance.async_enabled,
            "timeout_seconds": _plain(performance.timeout_seconds),
            "max_retries": performance.max_retries,
        },
    }


def _plain(number: float) -> float | int:
    """24 rather than 24.0, as people write it."""
    return int(number) if number.is_integer() else number


def migrate_file(path: Path, *, write: bool = True) -> list[str]:
    """Add what a project file lacks, in place; every other byte of it stays.

    Args:
        write: false only tells what would be changed.

    Returns:
        One sentence for each change; none where nothing is missing.

    Raises:
        ConfigError: it is not a project, or cannot be read or written.
    """
    target = path.resolve()
    text = Source(path, FileTexts().read(target)).text
    new, changes = migrate_text(text)
    if changes and write:
        try:
            _replace(target, new)
        except OSError as error:
            hint = "nothing was changed; migrate a copy with --config PATH, or make the folder writable"
            raise ConfigError(f"cannot write {target}: {error.strerror}", {"hint": hint}) from None
    return changes


def migrate_text(text: str) -> tuple[str, list[str]]:
    """Add what the text of a project lacks before its last brace, in the style of its first key.

    Raises:
        ConfigError: it is not a project at all.
    """
    raw = json.loads(text)
    new, changes = migrate(raw)
    if not changes:
        return text, []
    added = {name: section for name, section in new.items() if name not in raw}
    end = text.rindex("}")
    before = text[:end].rstrip()
    comma = "," if raw else ""
    found = _FIRST_KEY.match(text)
    if found is None:
        members = json.dumps(added, ensure_ascii=False)[1:-1]
        return f"{before}{comma}{' ' if raw else ''}{members}{text[end:]}", changes
    newline, indent = found["newline"], found["indent"]
    lines = json.dumps(added, ensure_ascii=False, indent=indent).split("\n")[1:-1]
    outer = _LAST_BRACE.search(text[:end])
    closing = outer[0] if outer else newline
    return f"{before}{comma}{newline}{newline.join(lines)}{closing}{text[end:]}", changes


def _replace(target: Path, text: str) -> None:
    """Write the file whole or not at all, with its mode and its byte order mark."""
    mark = codecs.BOM_UTF8 if target.read_bytes().startswith(codecs.BOM_UTF8) else b""
    replace_file(target, mark + text.encode(), keep_mode=True)
