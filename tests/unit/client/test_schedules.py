"""A tick records a run like any other; what stands in the ledger is told by name."""

import json

import pytest

from cf_workers.client.schedules import Schedules
from cf_workers.errors import InputError, ProjectError
from cf_workers.schedules import Ledger
from tests.support.engine import FAILED
from tests.support.offline import active_runs, end_run, offline_client
from tests.support.projects import write_project

NOON = 1_767_268_800.0  # 2026-01-01 12:00 UTC
WORKFLOWS = {
    "report": {"inputs": {"topic": "tea"}, "steps": [{"agent": "writer", "task": "on {{ inputs.topic }}"}]}
}
SCHEDULES = {
    "hourly": {
        "every": "1h",
        "workflow": "report",
        "inputs": {"topic": "rain"},
        "task": "be brief",
        "lane": "batch",
        "max_cost_usd": 2.5,
    },
    "files": {"cron": "@daily", "batch": "rows.jsonl", "lane": "batch", "enabled": False},
    "broken": {"cron": "@daily", "workflow": "nothing"},
}


class Time:
    def __init__(self):
        self.at = NOON

    def now(self):
        return self.at

    def sleep(self, seconds):
        raise AssertionError("nobody waits here")


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def client(engine, tmp_path):
    file = write_project(tmp_path, "writer", workflows=WORKFLOWS, schedules=SCHEDULES)
    (file.parent / "rows.jsonl").write_text(
        '{"agent": "writer", "task": "one"}\n{"agent": "writer", "task": "two"}\n'
    )
    return offline_client(engine, file)


@pytest.fixture
def schedules(client, engine, time):
    made = Schedules(client, Ledger(engine.client, engine.keys), time)
    made.look(made.usable()[0])
    return made


def status_of(schedules, name):
    return next(one for one in schedules.statuses() if one.name == name)


def test_a_tick_records_a_run_of_the_workflow_with_its_inputs_task_and_lane(schedules, engine, time):
    time.at = NOON + 3600

    ticked, _ = schedules.look(schedules.usable()[0])

    [run] = active_runs(engine)
    header = engine.store.header(run, 1)
    assert [(one.schedule, one.run) for one in ticked] == [("hourly", run)]
    assert (header.inputs, header.task) == ({"topic": "rain"}, "be brief")
    assert "2500000000" in json.dumps(header.options["budgets"])
    assert [message.queue for message in engine.published()] == ["batch"]


def test_a_batch_file_ticks_as_one_run_of_a_step_a_line(schedules, engine):
    handle = schedules.run("files")

    plan = engine.store.header(handle.id, 1).plan
    assert [(step.id, step.task, step.lane) for step in plan.steps] == [
        ("1-writer", "one", "batch"),
        ("2-writer", "two", "batch"),
    ]


def test_a_run_by_hand_is_a_new_one_each_time_and_moves_no_tick(schedules, engine, time):
    first, second = schedules.run("hourly"), schedules.run("hourly")

    assert first.id != second.id
    assert status_of(schedules, "hourly").run == second.id
    end_run(engine, second.id)
    time.at = NOON + 3600
    assert [one.outcome for one in schedules.look(schedules.usable()[0])[0]] == ["start"]


def test_every_schedule_is_listed_with_what_is_next_and_how_it_went_last(schedules, engine, time):
    time.at = NOON + 3605
    schedules.look(schedules.usable()[0])
    end_run(engine, active_runs(engine)[0], FAILED)

    hourly, files, broken = [one.document() for one in schedules.statuses()]

    assert (hourly["next"], hourly["last_planned"]) == (
        "2026-01-01T14:00:00+00:00",
        "2026-01-01T13:00:00+00:00",
    )
    assert (hourly["last_status"], hourly["when"]) == ("failed", "every 1h")
    assert (files["enabled"], files["next"], files["last_run"]) == (False, None, None)
    assert (broken["valid"], broken["next"]) == (False, None)
    assert "no workflow 'nothing'" in broken["error"]


def test_a_schedule_that_no_beat_knows_is_told_from_one_that_waits(client, engine, time):
    schedules = Schedules(client, Ledger(engine.client, engine.keys), time)
    assert [one.unseen for one in schedules.statuses()] == [True, False, False]

    schedules.look(schedules.usable()[0])

    assert not any(one.unseen for one in schedules.statuses())


def test_what_cannot_be_used_cannot_be_run_by_hand(schedules):
    with pytest.raises(ProjectError, match="no workflow 'nothing'"):
        schedules.run("broken")
    with pytest.raises(InputError, match="there is no schedule 'hourli'"):
        schedules.run("hourli")


def test_overlap_goes_by_the_state_of_the_last_run(schedules, engine, time):
    outcomes = []
    for hour in (1, 2):
        time.at = NOON + hour * 3600
        outcomes += [one.outcome for one in schedules.look(schedules.usable()[0])[0]]

    assert outcomes == ["start", "skip"]
    assert len(active_runs(engine)) == 1
