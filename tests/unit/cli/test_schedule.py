"""What a person sees of schedules."""

import pytest

from tests.support.offline import active_runs, offline_client

SCHEDULES = {
    "nightly": {"cron": "30 3 * * *", "timezone": "Europe/Berlin", "workflow": "code-quality-check"},
    "off": {"every": "1h", "workflow": "code-quality-check", "enabled": False},
    "broken": {"every": "1h", "workflow": "code-quality"},
}


@pytest.fixture
def cf(cf, engine, monkeypatch):
    """The command line of a project with schedules, on the engine."""
    cf.declare(schedules=SCHEDULES)
    monkeypatch.setattr("cf_workers.client.Client", lambda **_: offline_client(engine, cf.project))
    return cf


def test_schedules_are_listed_with_their_times_and_what_is_wrong(cf):
    result = cf("schedule", "list")

    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "30 3 * * * Europe/Berlin" in rows["nightly"]
    assert "switched off" in rows["off"]
    assert "unusable" in rows["broken"]
    assert "did you mean 'code-quality-check'?" in result.stderr
    assert "no beat has seen nightly yet" in result.stderr


def test_a_project_without_schedules_says_where_to_declare_them(cf):
    cf.declare()

    assert "claude.json" in cf("schedule", "list").stderr
    assert cf.document("schedule", "list", "--json") == {"schedules": []}


def test_a_run_by_hand_is_started_at_once_and_shows_in_the_list(cf, engine):
    document = cf.document("schedule", "run", "nightly", "--detach", "--json")

    assert active_runs(engine) == [document["run_id"]]
    listed = {one["name"]: one for one in cf.document("schedule", "list", "--json")["schedules"]}
    assert (listed["nightly"]["last_run"], listed["nightly"]["last_status"]) == (
        document["run_id"],
        "pending",
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("nightli", "did you mean 'nightly'?"), ("broken", "the schedule 'broken' cannot be used")],
)
def test_what_cannot_be_run_ends_with_2(cf, name, message):
    result = cf("schedule", "run", name)

    assert result.exit_code == 2
    assert message in result.stderr


def test_a_project_with_a_broken_schedule_is_not_valid(cf):
    result = cf("workflow", "validate")

    assert result.exit_code != 0
    assert "schedules.broken.workflow" in result.stderr + result.stdout
