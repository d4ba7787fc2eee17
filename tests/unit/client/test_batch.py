"""A batch writes one line for each line, whatever happens in between, and pays none of them twice."""

import json
import os

import pytest

from cf_workers.client.batch import Batch, BatchPolicy, Tally
from cf_workers.client.batch_input import read_batch
from cf_workers.client.batch_output import BatchOutput
from cf_workers.errors import CfWorkersError, ConfigError, InputError, ProjectError, ServerUnreachableError
from tests.support.engine import FAILED, SUCCEEDED
from tests.support.offline import active_runs, end_run, offline_client
from tests.support.projects import write_project

WORKFLOWS = {
    "report": {"inputs": {"topic": None}, "steps": [{"agent": "writer", "task": "on {{ inputs.topic }}"}]},
    "list": ["writer"],
}


class Killed(BaseException):
    """As sudden as SIGKILL."""


@pytest.fixture
def client(engine, tmp_path):
    file = write_project(tmp_path, "writer", workflows=WORKFLOWS, cache={"enabled": False})
    return offline_client(engine, file)


@pytest.fixture
def rows(tmp_path, out):
    def write(*lines):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return path

    write.out = out
    return write


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.jsonl"


class Workers:
    """Ends runs instead of workers, whenever the batch waits; it is the batch's clock."""

    def __init__(self, engine):
        self.engine = engine
        self.time = 0.0
        self.most = 0
        self.die_after = None
        self.newest_first = False
        self.outcome = lambda _: SUCCEEDED

    def now(self):
        return self.time

    def sleep(self, seconds):
        self.time += seconds
        active = active_runs(self.engine)
        self.most = max(self.most, len(active))
        if self.die_after is not None and self.time > self.die_after:
            raise Killed
        if active:
            run = active[-1 if self.newest_first else 0]
            end_run(self.engine, run, self.outcome(self.engine.store.header(run, 1)))


@pytest.fixture
def workers(engine):
    return Workers(engine)


@pytest.fixture
def run(client, workers, out):
    """Run a batch file to its end, as one start of the command does."""

    def start(path, *, ordered=False, told=lambda _: None, **policy):
        with read_batch(client, path) as source, BatchOutput(out, source.digest, ordered=ordered) as output:
            batch = Batch(
                client,
                source,
                output,
                ordered=ordered,
                clock=workers,
                policy=BatchPolicy(**{"in_flight": 3, **policy}),
            )
            return batch.run(told)

    return start


def executions(number):
    return [{"agent": "writer", "task": f"row {line}"} for line in range(1, number + 1)]


def written(out):
    return [json.loads(line) for line in out.read_text().splitlines()]


def recorded(engine):
    return engine.client.zcard(engine.keys.runs)


# what is written


def test_every_line_has_one_line_of_output_failures_too(run, rows, out, workers):
    workers.outcome = lambda header: FAILED if header.task == "row 2" else SUCCEEDED
    path = rows(
        {"id": "first", **executions(1)[0]},
        executions(2)[1],
        "",
        {"workflow": "report", "inputs": {"topic": "x"}},
    )

    tally = run(path)

    lines = {line["line"]: line for line in written(out)}
    assert sorted(lines) == [1, 2, 4]
    assert (lines[1]["id"], lines[1]["success"], lines[1]["output"], lines[1]["error"]) == (
        "first",
        True,
        "fine",
        None,
    )
    assert (lines[2]["success"], lines[2]["error"]["type"]) == (False, "CallRejectedError")
    assert (lines[4]["workflow_name"], lines[4]["results"]["writer"]["output"]) == ("report", "fine")
    assert (tally.lines, tally.done, tally.failed, tally.before) == (3, 3, 1, 0)


def test_a_failed_run_says_which_steps_failed(run, rows, out, workers):
    workers.outcome = lambda _: FAILED

    run(rows({"workflow": "report", "inputs": {"topic": "x"}}))

    assert written(out)[0]["error"] == {
        "type": "RunFailedError",
        "message": "the run is failed; steps that failed: writer",
    }


def test_no_more_than_so_many_lines_are_under_way(run, rows, workers):
    run(rows(*executions(10)), in_flight=4, burst=2)

    assert workers.most == 4


def test_results_come_as_they_end_or_in_the_order_of_the_file(run, rows, out, workers):
    workers.newest_first = True
    path = rows(*executions(5))

    run(path)
    assert [line["line"] for line in written(out)] == [3, 4, 5, 2, 1]

    out.unlink()
    run(path, ordered=True)
    assert [line["line"] for line in written(out)] == [1, 2, 3, 4, 5]


def test_characters_that_some_take_for_line_ends_do_not_break_a_line(out):
    with BatchOutput(out, "d") as output:
        output.append({"line": 1, "output": "a\u2028b\u2029c\x85d\ne 🙂"})

    assert len(out.read_text().splitlines()) == 1
    assert written(out)[0]["output"] == "a\u2028b\u2029c\x85d\ne 🙂"


# going on


@pytest.mark.parametrize("options", [{}, {"ordered": True}])
@pytest.mark.parametrize("instant", [0.0, 0.5, 1.1])
def test_a_batch_that_was_killed_goes_on_and_sends_nothing_twice(run, rows, workers, instant, options):
    path = rows(*executions(8))
    workers.die_after = instant
    with pytest.raises(Killed):
        run(path, **options)
    before = len(written(rows.out))
    workers.die_after = None

    tally = run(path, **options)

    assert sorted(line["line"] for line in written(rows.out)) == list(range(1, 9))
    assert recorded(workers.engine) == 8
    assert (tally.before, tally.done) == (before, 8)


def test_a_torn_last_line_is_cut_off_and_written_again(run, rows, out, engine):
    path = rows(*executions(3))
    run(path)
    whole = out.read_bytes()
    os.truncate(out, len(whole) - 5)

    tally = run(path)

    assert sorted(line["line"] for line in written(out)) == [1, 2, 3]
    assert (tally.before, recorded(engine)) == (2, 3)


def test_a_batch_that_is_complete_does_nothing_but_count(run, rows, out, workers, engine):
    workers.outcome = lambda header: FAILED if header.task == "row 2" else SUCCEEDED
    path = rows(*executions(3))
    run(path)
    before = out.read_bytes()

    tally = run(path)

    assert out.read_bytes() == before
    assert (tally.before, tally.done, tally.failed, recorded(engine)) == (3, 3, 1, 3)


def test_a_new_output_is_a_new_batch(run, rows, out, engine):
    path = rows(*executions(2))
    run(path)
    out.unlink()

    assert run(path).before == 0
    assert recorded(engine) == 4


def test_an_output_of_something_else_is_left_alone(run, rows, out, tmp_path):
    path = rows(*executions(2))
    out.write_text("my notes\n")
    with pytest.raises(InputError, match="no batch that could go on"):
        run(path)
    assert out.read_text() == "my notes\n"

    out.unlink()
    run(path)
    with pytest.raises(InputError, match="begun with another content"):
        run(rows(*executions(3)))
    with pytest.raises(InputError, match="begun without --ordered"):
        run(rows(*executions(2)), ordered=True)


def test_an_output_that_was_damaged_is_not_written_to(run, rows, out):
    path = rows(*executions(3))
    run(path)
    first, *rest = out.read_text().splitlines(keepends=True)

    out.write_text("{}\n" + "".join(rest))
    with pytest.raises(InputError, match=r"line 1 of .* is no output of this batch"):
        run(path)
    out.write_text(first + first + "".join(rest))
    with pytest.raises(InputError, match="too many"):
        run(path)


def test_two_processes_do_not_write_one_output(rows, out, client):
    with BatchOutput(out, "d"), pytest.raises(InputError, match="another process is writing"):
        BatchOutput(out, "d")


def test_a_line_that_the_disk_does_not_take_leaves_nothing_behind(out, monkeypatch):
    with BatchOutput(out, "d") as output:
        output.append({"line": 1})
        write = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:4]))
        with pytest.raises(CfWorkersError, match="no space is left"):
            output.append({"line": 2})

    assert out.read_text() == '{"line": 1}\n'


def test_a_server_that_is_away_for_a_while_only_delays_a_batch(run, rows, client, workers, monkeypatch):
    path = rows(*executions(3))
    reaching, away = client.reaching, iter([True] * 5)

    def failing():
        if next(away, False):
            raise ServerUnreachableError("no answer")
        return reaching()

    monkeypatch.setattr(client, "reaching", failing)
    assert run(path).done == 3


def test_a_server_that_stays_away_stops_a_batch(run, rows, client, monkeypatch):
    def failing():
        raise ServerUnreachableError("no answer")

    monkeypatch.setattr(client, "reaching", failing)
    with pytest.raises(ServerUnreachableError):
        run(rows(*executions(3)), patience_seconds=5)


def test_a_run_that_the_server_forgot_is_sent_again(run, rows, out, engine, workers):
    slept = workers.sleep

    def forget_once(seconds):
        workers.sleep = slept
        for key in engine.client.scan_iter("cfw:*"):
            engine.client.delete(key)

    workers.sleep = forget_once
    assert run(rows(*executions(2))).done == 2
    assert len(written(out)) == 2


def test_an_agent_that_is_gone_fails_its_lines_and_a_broken_project_stops_the_batch(
    run, rows, out, workers, tmp_path
):
    path = rows(*executions(4))
    project = tmp_path / ".claude" / "claude.json"
    text = project.read_text()
    slept = workers.sleep

    def edit(new):
        def once(seconds):
            workers.sleep = slept
            project.write_text(new)

        return once

    workers.sleep = edit("{")
    with pytest.raises(ConfigError, match="not valid JSON"):
        run(path, in_flight=2)

    project.write_text(text)
    workers.sleep = edit(text.replace('"writer"', '"author"'))
    tally = run(path, in_flight=2)
    assert (tally.done, tally.failed) == (4, 1)
    assert {line["error"]["type"] for line in written(out) if not line["success"]} == {"UnknownAgentError"}


# checking


def test_all_problems_of_a_file_come_at_once_and_nothing_is_sent(client, rows, engine):
    path = rows(
        {"agent": "writre", "task": "x"},
        "nonsense",
        executions(1)[0],
        {"workflow": "report"},
        {"workflow": "list"},
        {"workflow": "none"},
        {"agent": "writer", "task": "x" * 100_001},
        {"agent": "writer", "task": "x", "model": "claude-2.1"},
    )

    with pytest.raises(ProjectError) as caught:
        read_batch(client, path)

    assert [problem["line"] for problem in caught.value.problems] == [1, 2, 4, 5, 6, 7, 8]
    assert "did you mean 'writer'?" in caught.value.problems[0]["message"] + str(
        caught.value.problems[0]["hint"]
    )
    assert recorded(engine) == 0


def test_a_file_without_a_line_is_refused(client, rows):
    with pytest.raises(InputError, match="holds no line"):
        read_batch(client, rows("", " "))


def test_the_lane_is_that_of_every_line(client, rows, out, engine, workers):
    path = rows(executions(1)[0], {"workflow": "report", "inputs": {"topic": "x"}})
    with read_batch(client, path, "batch") as source, BatchOutput(out, source.digest) as output:
        Batch(client, source, output, clock=workers).run()

    assert [message.queue for message in engine.published()] == ["batch", "batch"]


# telling


def test_the_tally_knows_cost_and_time_left():
    tally = Tally(lines=10, seconds=4.0)
    for cost in (0.1, 0.2, 0.3):
        tally.add({"success": True, "cost": cost})
    tally.before = 1

    assert tally.cost == 0.6
    assert tally.seconds_left == 14.0
    tally.add({"success": False, "cost": None})
    assert (tally.cost, tally.known_cost, tally.unpriced, tally.failed) == (None, 0.6, 1, 1)


def test_progress_is_told_after_every_look(run, rows):
    seen = []

    run(rows(*executions(3)), told=lambda tally: seen.append(tally.done))

    assert seen[-1] == 3
    assert seen == sorted(seen)
