"""Which project file is meant?"""

from __future__ import annotations

from pathlib import Path

from cf_workers.errors import ConfigError

PROJECT_FILE = Path(".claude") / "claude.json"


def find_project(explicit: str | Path | None, cwd: Path, home: Path | None) -> Path:
    """The project file named, else that of the working directory, else that of the user.

    `explicit` is what `--config` or `CF_WORKERS_CONFIG` says, relative to `cwd`.

    Raises:
        ConfigError: there is none; it says where was looked.
    """
    if explicit:
        return _named(cwd / _expanded(explicit, home))
    places = [folder / PROJECT_FILE for folder in dict.fromkeys((cwd, home)) if folder is not None]
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(
        f"no project found; looked for {' and '.join(map(str, places))}",
        {
            "hint": "go to the folder of a project, or name its claude.json with --config PATH or "
            "CF_WORKERS_CONFIG; `cf-workers demo` shows one at work",
            "looked": list(map(str, places)),
        },
    )


def _expanded(explicit: str | Path, home: Path | None) -> Path:
    """A `~/` that no shell has expanded, as in an environment file."""
    path = Path(explicit)
    return home.joinpath(*path.parts[1:]) if home is not None and path.parts[:1] == ("~",) else path


def _named(path: Path) -> Path:
    if path.is_file():
        return path
    details = {"hint": "give the path of the claude.json itself", "looked": [str(path)]}
    if path.is_dir():
        raise ConfigError(f"{path} is a folder, not a project file", details)
    raise ConfigError(f"there is no project file {path}", details)
