"""Each line of a batch file is read by itself, and what is wrong with it is said with its number."""

import pytest

from cf_workers.errors import InputError, ProjectError
from cf_workers.project.batch_files import MOST_STEPS, batch_workflow, opened, raw_lines, read_entry


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.jsonl"


def read(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with opened(path) as file:
        return [(raw, *read_entry(raw, path)) for raw in raw_lines(file)]


def test_blank_lines_count_as_lines_and_ask_for_nothing(path):
    found = read(path, '{"agent": "a", "task": "x"}\n\n  \r\n{"agent": "b", "task": "y"}')

    assert [(raw.number, entry.agent) for raw, entry, _ in found] == [(1, "a"), (4, "b")]
    assert path.read_bytes()[found[1][0].offset :] == found[1][0].text


def test_an_execution_and_a_run_are_read_with_their_options(path):
    found = read(
        path,
        b'\xef\xbb\xbf{"id": 7, "agent": "a", "task": "x", "model": "m", "cacheable": false}\r\n'
        b'{"id": "w", "workflow": "w", "inputs": {"n": 1, "s": "t"}, "timeout_seconds": 60}\n',
    )

    (_, execution, _), (_, run, _) = found
    assert (execution.id, execution.task) == (7, "x")
    assert execution.options == {"model": "m", "cacheable": False}
    assert (run.id, run.workflow, run.task, run.inputs) == ("w", "w", None, {"n": "1", "s": "t"})
    assert run.options == {"timeout_seconds": 60}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "is not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[1]", "must be an object, not a list"),
        (b"\xff", "is not UTF-8"),
        ("{}", "names neither an agent nor a workflow"),
        ('{"agent": "a", "workflow": "w", "task": "x"}', "has both"),
        ('{"agent": "a"}', "is missing or empty"),
        ('{"agent": "a", "task": " "}', "is missing or empty"),
        ('{"agent": "a", "task": 5}', "must be a string"),
        ('{"agent": 5, "task": "x"}', "must be a string"),
        ('{"agent": "a", "task": "x", "tsak": "y"}', "is not a key"),
        ('{"agent": "a", "task": "x", "inputs": {}}', "is not a key"),
        ('{"agent": "a", "task": "x", "max_tokens": 0}', "at least 1"),
        ('{"agent": "a", "task": "\\ud800"}', "lone surrogate"),
        ('{"workflow": "w", "inputs": {"x": null}}', "must be a string, a number"),
        ('{"workflow": "w", "id": []}', "must be a string or a whole number"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(path, line, message):
    raw = line if isinstance(line, bytes) else line.encode()

    [_, (_, entry, problems)] = read(path, b'{"agent": "a", "task": "x"}\n' + raw)

    assert entry is None
    assert [problem.line for problem in problems] == [2]
    assert message in problems[0].message


def test_a_file_of_executions_is_one_workflow_of_steps_that_wait_for_nothing(path):
    path.write_text('{"agent": "a", "task": "x", "model": "m"}\n\n{"agent": "a", "task": "y"}\n')

    spec = batch_workflow("nightly", path)

    assert spec.name == "nightly"
    assert [(step.id, step.task, step.model, step.dependencies) for step in spec.steps] == [
        ("1-a", "x", "m", ()),
        ("3-a", "y", None, ()),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"workflow": "w"}\n', "is a workflow"),
        ("\n", "holds no execution"),
        ('{"agent": "a", "task": "x"}\n' * (MOST_STEPS + 1), "one run takes 10000 at most"),
    ],
)
def test_a_file_that_cannot_be_one_run_is_refused(path, text, message):
    path.write_text(text)

    with pytest.raises(ProjectError) as caught:
        batch_workflow("nightly", path)

    assert message in caught.value.problems[0]["message"]


def test_a_file_that_is_not_there_or_cannot_be_read_twice_is_refused(path, tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*: No such file"):
        opened(path)
    with pytest.raises(InputError, match="not an ordinary file"):
        opened(tmp_path)
