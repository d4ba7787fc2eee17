"""A schedule is read whole or refused with all that is wrong with it."""

from datetime import UTC, datetime

import pytest

from cf_workers.errors import InputError, ProjectError
from cf_workers.planning import check_project
from cf_workers.settings import load_settings

WORKFLOWS = {
    "report": {"inputs": {"topic": "tea"}, "steps": [{"agent": "a", "task": "on {{ inputs.topic }}"}]},
    "list": ["a"],
}

DAILY = {"cron": "@daily", "workflow": "report"}


@pytest.fixture
def declared(folder):
    """A project of two workflows and these schedules."""

    def declare(**schedules):
        return folder.with_agents("a", workflows=WORKFLOWS, schedules=schedules)

    return declare


def problems_of(project):
    return [(problem.place, problem.message, problem.hint) for problem in project.problems]


def test_a_schedule_is_read_with_all_that_it_says(declared):
    project = declared(
        nightly={
            "description": "every working day",
            "cron": "30 3 * * mon-fri",
            "timezone": "Europe/Berlin",
            "workflow": "report",
            "task": "be brief",
            "inputs": {"topic": "rain", "depth": 3, "deep": True},
            "lane": "batch",
            "timeout_seconds": 3600,
            "max_cost_usd": 2.5,
            "overlap": "queue",
            "missed": "run_once",
            "enabled": False,
        }
    )

    spec = project.schedule("nightly")

    assert project.problems == []
    assert (spec.workflow, spec.task, spec.lane, spec.timeout_seconds) == (
        "report",
        "be brief",
        "batch",
        3600,
    )
    assert dict(spec.inputs) == {"topic": "rain", "depth": "3", "deep": "true"}
    assert (spec.overlap, spec.missed, spec.enabled) == ("queue", "run_once", False)
    assert spec.max_cost_usd == 2.5
    assert str(spec.timing) == "30 3 * * mon-fri Europe/Berlin"


def test_what_a_schedule_leaves_open_is_the_careful_choice(declared):
    spec = declared(often={"every": "15m", "workflow": "report"}).schedule("often")

    assert (spec.lane, spec.overlap, spec.missed, spec.enabled) == ("interactive", "skip", "skip", True)
    assert spec.timing.after(datetime(2026, 1, 1, 12, 1, tzinfo=UTC)) == datetime(
        2026, 1, 1, 12, 15, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("raw", "place", "message", "hint"),
    [
        ([], "s", "must be an object, not a list", "write"),
        ({"workflow": "report"}, "s", "does not say when", "cron"),
        ({"cron": "@daily"}, "s", "does not say what", "workflow"),
        ({**DAILY, "every": "1h"}, "s", "has both 'cron' and 'every'", "keep one"),
        ({"cron": "0 25 * * *", "workflow": "report"}, "s.cron", "'25' cannot be the hour", "weekday"),
        ({"every": "soon", "workflow": "report"}, "s.every", "'soon' is not an interval", None),
        ({"every": True, "workflow": "report"}, "s.every", "must be a string or a number", None),
        ({"every": "1h", "timezone": "UTC", "workflow": "report"}, "s.timezone", "has no time zone", "cron"),
        (
            {**DAILY, "timezone": "Europe/Berln"},
            "s.timezone",
            "there is no time zone",
            "did you mean 'Europe/Berlin'?",
        ),
        ({**DAILY, "timezone": "../etc/passwd"}, "s.timezone", "no time zone", None),
        ({**DAILY, "workflow": "reprot"}, "s.workflow", "no workflow 'reprot'", "did you mean 'report'?"),
        ({**DAILY, "batch": "x"}, "s", "has both 'workflow' and 'batch'", "keep one"),
        ({"cron": "@daily", "batch": "x.jsonl"}, "s.batch", "there is no file 'x.jsonl'", "relative to"),
        ({**DAILY, "tsak": "x"}, "s.tsak", "is not a key", "did you mean 'task'?"),
        ({**DAILY, "overlap": "cancl"}, "s.overlap", "must be 'skip'", "'cancel'"),
        ({**DAILY, "missed": "run"}, "s.missed", "must be 'skip'", None),
        ({**DAILY, "lane": "fast"}, "s.lane", "must be 'interactive'", None),
        ({**DAILY, "inputs": {"x": []}}, "s.inputs.x", "must be a string", None),
        ({**DAILY, "enabled": "no"}, "s.enabled", "must be true or false", None),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_schedule_is_said_at_its_place(declared, raw, place, message, hint):
    project = declared(s=raw)

    found = problems_of(project)

    assert len(found) == 1
    assert found[0][0] == f"schedules.{place}"
    assert message in found[0][1]
    assert hint is None or hint in found[0][2]
    with pytest.raises(ProjectError, match="the schedule 's' cannot be used"):
        project.schedule("s")


def test_all_problems_of_a_schedule_come_at_once_each_with_its_line(declared):
    project = declared(
        s={"cron": "x", "timezone": "Nowhere", "workflow": "none", "overlap": "never", "lnae": "batch"}
    )

    assert {place for place, _, _ in problems_of(project)} == {
        "schedules.s.timezone",
        "schedules.s.workflow",
        "schedules.s.overlap",
        "schedules.s.lnae",
    }
    assert all(problem.line for problem in project.problems)


def test_one_bad_schedule_blocks_only_itself(declared):
    project = declared(bad={}, good={"cron": "@daily", "workflow": "report"})

    assert project.schedule("good").workflow == "report"
    assert project.workflow("report").name == "report"


def test_an_unknown_schedule_is_refused_with_the_nearest_name(declared):
    with pytest.raises(InputError, match="no schedule 'nightli'") as caught:
        declared(nightly={"cron": "@daily", "workflow": "report"}).schedule("nightli")

    assert caught.value.hint == "did you mean 'nightly'?"


def test_a_batch_file_may_come_and_go_while_the_project_stays_as_it_is(declared, folder):
    project = declared(s={"cron": "@daily", "batch": "work/rows.jsonl"})
    assert len(project.problems) == 1

    folder.add("work/rows.jsonl", '{"agent": "a", "task": "x"}\n')

    assert project.problems == []
    assert project.schedule("s").batch == "work/rows.jsonl"


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"workflow": "report", "inputs": {"tpoic": "x"}}, "has no input 'tpoic'"),
        ({"workflow": "list"}, "is a list of agents"),
        ({"batch": "rows.jsonl"}, "there is no agent 'nobody'"),
    ],
)
def test_checking_a_project_plans_what_its_schedules_run(declared, folder, schedule, message):
    folder.add("rows.jsonl", '{"agent": "a", "task": "x"}\n{"agent": "nobody", "task": "x"}\n')
    project = declared(s={"cron": "@daily", **schedule})

    with pytest.raises(ProjectError, match=message):
        check_project(project, load_settings(project, {}))
