import json
from pathlib import Path

import pytest

from cf_workers.project import load_project


class Folder:
    """A project folder that a test fills."""

    def __init__(self, root: Path) -> None:
        self.root = root / ".claude"
        self.root.mkdir()
        self.file = self.root / "claude.json"

    def write(self, document) -> Path:
        text = document if isinstance(document, str) else json.dumps(document, indent=2)
        self.file.write_text(text, encoding="utf-8")
        return self.file

    def add(self, relative: str, text: str | bytes) -> Path:
        path = self.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def with_agents(self, *names: str, **rest):
        """Write a project of these agents, each with its file, and load it."""
        for name in names:
            self.add(f"agents/{name}.md", f"# {name}")
        agents = {name: {"file": f"agents/{name}.md"} for name in names}
        return load_project(self.write({"agents": agents, **rest}))

    def load(self, document):
        return load_project(self.write(document))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
