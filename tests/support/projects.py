"""How does a test get a project of its own?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cf_workers.project import Project, load_project


def write_project(root: Path, *agents: str, **document: Any) -> Path:
    """Write `.claude/claude.json` and a file for each agent; `entries` adds to what is said of agents."""
    home = root / ".claude"
    (home / "agents").mkdir(parents=True, exist_ok=True)
    entries = document.pop("entries", {})
    for name in agents:
        (home / "agents" / f"{name}.md").write_text(f"# {name}", encoding="utf-8")
    declared = {name: {"file": f"agents/{name}.md", **entries.get(name, {})} for name in agents}
    file = home / "claude.json"
    file.write_text(json.dumps({"agents": declared, **document}), encoding="utf-8")
    return file


def make_project(root: Path, *agents: str, **document: Any) -> Project:
    return load_project(write_project(root, *agents, **document))
