"""What is the project right now, with all edits of its files?"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from cf_workers.clock import Clock, SystemClock
from cf_workers.errors import ConfigError
from cf_workers.project.files import FileTexts
from cf_workers.project.project import Project
from cf_workers.project.source import Source

_ATTEMPTS = 5
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class _Unusable:
    """A project file that cannot be used as it is."""

    text: str | None
    error: ConfigError


class ProjectCache:
    """Projects that are parsed again only when their files change. Safe to use from many threads."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._files = FileTexts()
        self._known: dict[Path, Project | _Unusable] = {}
        self._lock = threading.Lock()

    def project(self, path: Path) -> Project:
        """The project as its files are now; the same object as before when the project file is unchanged.

        A file that cannot be parsed is looked at again for a moment: it may be half-way through an edit.

        Raises:
            ConfigError: it cannot be read, or is not a JSON object.
        """
        path = path.parent.resolve() / path.name
        with self._lock:
            found = self._look(path)
            known = self._known.get(path)
            if isinstance(found, _Unusable) and not (
                isinstance(known, _Unusable) and known.text == found.text
            ):
                found = self._look_again(path, found)
            self._known[path] = found
        if isinstance(found, _Unusable):
            raise ConfigError(found.error.message, found.error.details)
        return found

    def _look_again(self, path: Path, found: Project | _Unusable) -> Project | _Unusable:
        for _ in range(_ATTEMPTS):
            if isinstance(found, _Unusable):
                self._clock.sleep(_PAUSE_SECONDS)
                found = self._look(path)
        return found

    def _look(self, path: Path) -> Project | _Unusable:
        text = None
        try:
            text = self._files.read(path)
            known = self._known.get(path)
            if isinstance(known, Project) and known.text == text:
                return known
            return Project(Source(path, text), self._files)
        except ConfigError as error:
            return _Unusable(text, error)


_projects = ProjectCache()


def current_project(path: Path) -> Project:
    """The project as its files are now, from what this process already knows of it.

    Raises:
        ConfigError: it cannot be read, or is not a JSON object.
    """
    return _projects.project(path)
