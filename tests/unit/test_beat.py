"""Beat tells of what it does once, and nothing that fails stops it."""

import logging
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from celery import beat

from cf_workers.beat import LOOK_AGAIN_SECONDS, Clockwork, KeepsSchedules, Scheduler
from cf_workers.errors import ServerUnreachableError
from cf_workers.schedules import Ticked
from tests.support.engine import memory_app
from tests.support.offline import active_runs, offline_client
from tests.support.projects import write_project

WORKFLOWS = {"report": [], "say": {"steps": [{"agent": "writer", "task": "x"}]}}


@pytest.fixture
def project(tmp_path):
    def declare(**schedules):
        return write_project(tmp_path, "writer", workflows=WORKFLOWS, schedules=schedules)

    return declare


@pytest.fixture
def clockwork(engine, project):
    client = offline_client(engine, project())
    return Clockwork(lambda: client)


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, logger="cf_workers.beat")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "cf_workers.beat"]


def test_a_due_schedule_is_told_with_its_run(clockwork, project, engine, server_time, told):
    project(often={"every": "10s", "workflow": "say"})
    pause = clockwork.advance()
    assert 0 <= pause <= LOOK_AGAIN_SECONDS

    server_time.advance(10)
    clockwork.advance()

    [run] = active_runs(engine)
    assert len(told()) == 1
    assert told()[0].startswith("schedule.ticked schedule=often planned=")
    assert told()[0].endswith(f"outcome=start run={run}")


def test_edits_of_the_project_are_seen_without_a_restart(clockwork, project, engine, server_time):
    clockwork.advance()
    project(often={"every": "10s", "workflow": "say"})
    clockwork.advance()
    server_time.advance(10)
    clockwork.advance()

    assert len(active_runs(engine)) == 1


def test_what_cannot_tick_is_told_once_and_again_when_it_changes(clockwork, project, told):
    project(bad={"every": "10s", "workflow": "sya"})
    for _ in range(3):
        clockwork.advance()
    project(bad={"every": "10s", "workflow": "saay"})
    clockwork.advance()

    assert len(told()) == 2
    assert all(line.startswith("schedule.unusable schedule=bad") for line in told())


def test_a_broken_project_file_is_told_once_and_mended_by_an_edit(
    clockwork, project, engine, server_time, told
):
    file = project(often={"every": "10s", "workflow": "say"})
    clockwork.advance()
    text = file.read_text()
    file.write_text("{")
    assert [clockwork.advance() for _ in range(2)] == [LOOK_AGAIN_SECONDS] * 2
    assert len(told()) == 1

    file.write_text(text)
    server_time.advance(10)
    clockwork.advance()
    assert len(active_runs(engine)) == 1


class Failing:
    """The schedules of a client, whose looks end as a test says."""

    def __init__(self, *ends):
        self.ends = list(ends)
        self.schedules = self

    def usable(self):
        return [], {}

    def look(self, specs):
        end = self.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return end, 1.0

    def close(self):
        pass


def test_a_server_that_is_away_is_told_once_each_time_it_goes(told):
    away = ServerUnreachableError("no answer from redis://here:1")
    clockwork = Clockwork(lambda: client)
    client = Failing(away, away, [], away)

    pauses = [clockwork.advance() for _ in range(4)]

    assert pauses == [LOOK_AGAIN_SECONDS, LOOK_AGAIN_SECONDS, 1.0, LOOK_AGAIN_SECONDS]
    assert len(told()) == 2


def test_a_tick_that_fails_at_every_look_is_told_once(told):
    failed = Ticked("s", datetime(2026, 1, 1, tzinfo=UTC), "failed", error=ServerUnreachableError("away"))
    client = Failing([failed], [failed])
    clockwork = Clockwork(lambda: client)

    clockwork.advance()
    clockwork.advance()

    assert told() == ["schedule.failed schedule=s error=away"]


def test_a_scheduler_does_its_own_entries_and_ours_and_waits_for_the_sooner_one(fake_redis):
    class Idle(beat.Scheduler):
        def tick(self, *args, **kwargs):
            return 3.0

    class Both(KeepsSchedules, Idle):
        pass

    app = memory_app(fake_redis)
    scheduler = Both(app, lazy=True)
    for ours, sooner in ((1.0, 1.0), (5.0, 3.0)):
        scheduler._clockwork = SimpleNamespace(advance=lambda pause=ours: pause)
        assert scheduler.tick() == sooner
    app.close()


def test_a_scheduler_that_only_introduces_itself_opens_nothing(fake_redis, monkeypatch):
    app = memory_app(fake_redis)
    scheduler = Scheduler(app, lazy=True)

    scheduler.close()

    assert "_client" not in scheduler._clockwork.__dict__
    app.close()
