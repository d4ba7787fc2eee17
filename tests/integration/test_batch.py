"""A batch file with real processes: killed and interrupted, it goes on, and each line is paid once."""

import json
import signal
from uuid import uuid4

import pytest

from tests.support import eventually
from tests.support.commands import Commands

pytestmark = pytest.mark.integration

LINES = 40
PATIENCE = 60


@pytest.fixture
def marks(tmp_path):
    """A text for each line that its call can be found by, and the file of these lines."""
    batch = uuid4().hex
    marks = [f"row {line} of {batch}" for line in range(1, LINES + 1)]
    lines = [
        {"agent": "writer", "task": f"[[sim latency=1]]\n{mark}\n", "cacheable": False} for mark in marks
    ]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return marks


def test_a_batch_that_is_interrupted_and_killed_is_gone_on_with_and_every_line_is_paid_once(
    stack, project, marks, tmp_path
):
    out = tmp_path / "out.jsonl"
    words = ("batch", str(tmp_path / "rows.jsonl"), "--out", str(out), "--ordered", "--in-flight", "8")

    def written():
        return out.read_text().count("\n") if out.exists() else 0

    def stopped_after(more, number):
        before = written()
        child = stack.processes.python(
            "-m", "cf_workers", *words, env=stack.environ, cwd=project.root, until=None
        )
        eventually(lambda: written() >= before + more, f"{more} more lines", timeout=PATIENCE)
        child.signal(number)
        return child

    interrupted = stopped_after(8, signal.SIGINT)
    assert interrupted.wait(timeout=PATIENCE) == 130
    assert "go on with the same command: cf-workers batch" in interrupted.output()
    stopped_after(8, signal.SIGKILL).wait(timeout=PATIENCE)
    assert 16 <= written() < LINES

    ended = Commands(tmp_path, project.root, stack.environ)(*words, "--json", timeout=PATIENCE)

    assert ended.code == 0, ended.err
    assert (ended.document["lines"], ended.document["succeeded"]) == (LINES, LINES)
    assert ended.document["estimated_cost"] > 0
    assert [json.loads(line)["line"] for line in out.read_text().splitlines()] == list(range(1, LINES + 1))
    assert stack.calls_by_task(*marks) == dict.fromkeys(marks, 1)
