"""What is wrong with a place is said with what to do about it."""

from datetime import date

import pytest

from cf_workers.doctor import ADVICE, OK, PROBLEM, place_findings, project_findings
from cf_workers.settings import load_settings
from tests.support.projects import make_project

TODAY = date(2026, 11, 21)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("CF_WORKERS_REDIS_URL", raising=False)
    return monkeypatch


def findings(environ=None, project=None, today=TODAY, **settings):
    environ = environ or {}
    found = list(place_findings(project, load_settings(project, environ, **settings), environ, today))
    return {finding.topic: finding for finding in found}


def test_a_place_in_order_has_nothing_to_do():
    found = findings({"ANTHROPIC_API_KEY": "sk-geheim", "CLAUDE_CACHE_SECRET": "geheim"})

    assert {finding.level for finding in found.values()} == {OK}
    assert not any(finding.do for finding in found.values())
    assert "geheim" not in str(found)


def test_a_missing_key_says_how_to_go_on_without_one():
    key = findings()["api key"]

    assert key.level == PROBLEM
    assert "cf-workers simulate-api" in key.do


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_either_credential_will_do(name):
    assert findings({name: "geheim"})["api key"].level == OK


@pytest.mark.parametrize(
    ("today", "level"),
    [(date(2026, 6, 1), OK), (date(2026, 11, 1), ADVICE), (date(2026, 12, 1), PROBLEM)],
)
def test_the_default_model_is_told_before_and_after_its_end(today, level, monkeypatch):
    monkeypatch.setenv("CF_WORKERS_AGENTS__MODEL", "claude-sonnet-4-5")

    model = findings(today=today)["default model"]

    assert model.level == level
    assert level == OK or "CF_WORKERS_AGENTS__MODEL" in model.do


def test_a_variable_that_nothing_reads_is_a_problem():
    found = findings({"CF_WORKERS_CONCURENCY": "4", "CF_WORKERS_WORKER__CONCURENCY": "4"})["variables"]

    assert found.level == PROBLEM
    assert "CF_WORKERS_WORKER__CONCURRENCY" in found.do


def test_the_broker_in_force_is_named_where_two_are_set(monkeypatch):
    theirs = {"CELERY_BROKER_URL": "redis://:geheim@theirs:1/0"}
    alone = findings(theirs)["broker"]
    both = findings(theirs, redis_url=theirs["CELERY_BROKER_URL"])["broker"]
    split = findings(theirs, redis_url="redis://ours:1/0")["broker"]
    monkeypatch.setenv("CF_WORKERS_BROKER_URL", "amqp://ours//")
    ours = findings(theirs)["broker"]

    assert alone.level == split.level == ours.level == ADVICE
    assert both.level == OK
    assert alone.says.endswith("this project's embedded Valkey")
    assert "messages go to CELERY_BROKER_URL (redis://theirs:1/0)" in split.says
    assert ours.says.startswith("CF_WORKERS_BROKER_URL is in force (amqp://ours//)")
    assert "geheim" not in str([split, ours])
    assert "broker" not in findings({})


def test_in_production_a_missing_cache_secret_is_a_problem(tmp_path):
    assert findings({"CLAUDE_ENV": "Production"})["cache secret"].level == PROBLEM
    assert findings(redis_url="redis://ours:1/0")["cache secret"].level == ADVICE
    assert "cache secret" not in findings({"CLAUDE_ENV": "production", "CLAUDE_CACHE_SECRET": "x"})
    uncached = make_project(tmp_path, cache={"enabled": False})
    assert "cache secret" not in findings({"CLAUDE_ENV": "production"}, uncached)


def test_the_api_s_address_is_told_without_its_password():
    assert findings({"ANTHROPIC_BASE_URL": "http://u:geheim@127.0.0.1:8/"})["api address"].says == (
        "calls go to http://127.0.0.1:8/"
    )


# -- the project


def of_project(project, **settings):
    return list(project_findings(project, load_settings(project, {}, **settings)))


def test_a_project_in_order_is_counted(tmp_path):
    (found,) = of_project(make_project(tmp_path, "a", "b", workflows={"w": ["a"]}))

    assert (found.level, "2 agents and 1 workflows" in found.says) == (OK, True)


def test_no_project_is_advice_since_workers_need_none():
    (found,) = of_project(None)

    assert found.level == ADVICE
    assert "--config" in found.do


def test_agents_that_cannot_be_read_and_other_problems_are_told_a_few_at_a_time(tmp_path):
    project = make_project(tmp_path, *[f"a{n}" for n in range(8)])
    for file in (tmp_path / ".claude" / "agents").iterdir():
        file.write_bytes(b"\xff\xfe")

    found = of_project(project)

    assert {one.level for one in found} == {PROBLEM}
    assert "a0" in found[0].says
    assert "3 more problems" in found[-1].says
    assert "config validate" in found[-1].do


def test_a_retired_default_model_is_not_the_fault_of_every_agent(tmp_path, monkeypatch):
    monkeypatch.setenv("CF_WORKERS_AGENTS__MODEL", "claude-2.1")
    project = make_project(tmp_path, "a", "b", entries={"b": {"model": "claude-2.0"}})

    (found,) = of_project(project)

    assert "agents.b" in found.says


def test_a_problem_in_another_file_is_told_with_that_file_and_its_line(tmp_path):
    project = make_project(
        tmp_path,
        "writer",
        workflows={"short": ["writer"]},
        schedules={"nightly": {"cron": "0 3 * * *", "batch": "nightly.jsonl"}},
    )
    (project.root / "nightly.jsonl").write_text('{"agent": "writer", "task": "one"}\n{"workflow": "short"}\n')

    (found,) = project_findings(project, load_settings(project, {}))

    assert found.level == PROBLEM
    assert found.do.endswith("nightly.jsonl:2")
    assert not found.says.startswith(":")
