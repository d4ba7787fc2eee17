import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cf_workers.cli.program import program

PROJECT = {
    "version": "1.0.0",
    "agents": {
        "linter": {"file": "agents/linter.md", "priority": 1, "domains": ["python"]},
        "type-checker": {"file": "agents/type-checker.md"},
        "security-scan": {"file": "agents/security-scan.md"},
        "code-reviewer": {"file": "agents/code-reviewer.md", "contract": "contracts/code-reviewer.contract"},
    },
    "workflows": {
        "code-quality-check": {
            "name": "Code Quality Check",
            "steps": [
                {"id": "linter", "agent": "linter", "task": "Lint {{ inputs.path }}"},
                {"id": "type-checker", "agent": "type-checker", "task": "Check types"},
                {"id": "security-scan", "agent": "security-scan", "task": "Scan"},
                {
                    "id": "final-review",
                    "agent": "code-reviewer",
                    "task": "Review",
                    "dependencies": ["linter", "type-checker", "security-scan"],
                },
            ],
            "inputs": {"path": "src"},
        },
        "bug-fix": ["linter", "code-reviewer"],
    },
}


class CommandLine:
    """Runs `cf-workers` in this process, in a project, with no server anywhere."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = home / "state"
        self.project = home / ".claude" / "claude.json"

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(program, list(words), input=stdin)

    def document(self, *words: str) -> dict:
        """What a `--json` command printed: one document, and nothing else."""
        result = self(*words)
        assert result.stdout, result.stderr
        return json.loads(result.stdout)

    def declare(self, **changes: object) -> None:
        self.project.write_text(json.dumps(PROJECT | changes, indent=2))

    @property
    def no_server_was_started(self) -> bool:
        return not self.state.exists()


@pytest.fixture
def cf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    line = CommandLine(tmp_path)
    agents = line.project.parent / "agents"
    agents.mkdir(parents=True)
    for name in PROJECT["agents"]:
        (agents / f"{name}.md").write_text(f"# {name}\nYou are the {name}.")
    contracts = line.project.parent / "contracts"
    contracts.mkdir()
    (contracts / "code-reviewer.contract").write_text("Be fair.")
    line.declare()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(line.state))
    return line
