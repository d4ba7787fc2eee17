"""What is wrong with a batch is said before a server is needed; progress is a sentence."""

import json

import pytest

from cf_workers.cli.batch import progress_text
from cf_workers.client.batch import Tally


@pytest.fixture
def rows(cf):
    def write(*lines):
        path = cf.home / "rows.jsonl"
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return str(path)

    return write


def test_a_file_with_mistakes_ends_with_2_and_all_of_them(cf, rows):
    path = rows({"agent": "lintre", "task": "x"}, {"agent": "linter", "task": "x"}, {"workflow": "bug-fix"})

    result = cf("batch", path, "--out", "out.jsonl")

    assert result.exit_code == 2
    assert "rows.jsonl:1: there is no agent 'lintre'" in result.stderr
    assert "rows.jsonl:3: workflow 'bug-fix' is a list of agents" in result.stderr
    assert not (cf.home / "out.jsonl").exists()
    assert cf.no_server_was_started


def test_mistakes_in_json_carry_their_lines(cf, rows):
    document = cf.document("batch", rows({"agent": "linter"}, 5), "--out", "out.jsonl", "--json")

    assert document["success"] is False
    assert [problem["line"] for problem in document["error"]["problems"]] == [1, 2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere.jsonl", "--out", "o"), "cannot read nowhere.jsonl"),
        (("rows.jsonl", "--out", "rows.jsonl"), "is the batch file itself"),
        (("rows.jsonl",), "--out"),
        (("rows.jsonl", "--out", "no/such/folder/o"), "cannot be written"),
        (("rows.jsonl", "--out", "."), "not an ordinary file"),
    ],
)
def test_what_cannot_be_read_or_written_is_refused(cf, rows, words, message):
    rows({"agent": "linter", "task": "x"})

    result = cf("batch", *words)

    assert result.exit_code == 2
    assert message in result.stderr
    assert cf.no_server_was_started


@pytest.mark.parametrize(
    ("tally", "text"),
    [
        (Tally(lines=10), "0/10 lines, $0"),
        (Tally(lines=10, done=4, before=2, failed=1, seconds=4.0, cost_nanos=5 * 10**8),
         "4/10 lines, 1 failed, $0.5000, about 12.0 s left"),
        (Tally(lines=2, done=2, unpriced=1, seconds=1.0), "2/2 lines, $0 and 1 line of unknown cost"),
    ],
)  # fmt: skip
def test_progress_says_how_far_what_it_cost_and_how_long_it_will_take(tally, text):
    assert progress_text(tally) == text
