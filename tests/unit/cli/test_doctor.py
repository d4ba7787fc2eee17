"""The diagnosis ends with 0 or 1, tells each finding, and a server that is away is one of them."""

import os

import pytest

from tests.support.environ import FOR_TESTS


@pytest.fixture(autouse=True)
def away(monkeypatch):
    monkeypatch.setenv("CF_WORKERS_REDIS_URL", "redis://:geheim@127.0.0.1:1/0")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-geheim")
    for name in [name for name in os.environ if name.startswith(FOR_TESTS)]:
        monkeypatch.delenv(name)  # no setting, as the doctor would say
    return monkeypatch


def topics(cf):
    return {one["topic"]: one for one in cf.document("doctor", "--json")["findings"]}


def test_a_server_that_is_away_is_a_finding_and_the_rest_is_told_all_the_same(cf):
    result = cf("doctor")

    assert result.exit_code == 1
    assert "PROBLEM  server: no answer from redis://127.0.0.1:1/0" in result.stdout
    assert "ok       project:" in result.stdout
    assert result.stdout.endswith("1 problem\n")
    assert "geheim" not in result.output


def test_in_json_every_finding_is_in_one_document(cf):
    document = cf.document("doctor", "--json")

    assert (document["success"], document["problems"]) == (False, 1)
    assert all(set(one) == {"topic", "level", "says", "do"} for one in document["findings"])
    assert topics(cf)["server"]["do"] == "is it running? its address is CF_WORKERS_REDIS_URL"


def test_settings_that_cannot_be_used_are_told_alone(cf, away):
    away.setenv("CF_WORKERS_WORKER__CONCURRENCY", "many")

    found = topics(cf)

    assert list(found) == ["settings"]
    assert "CF_WORKERS_WORKER__CONCURRENCY" in found["settings"]["says"]


def test_a_project_file_that_is_no_json_is_told_and_the_place_is_looked_at(cf):
    cf.project.write_text("{")

    found = topics(cf)

    assert found["project"]["level"] == "problem"
    assert "not valid JSON" in found["project"]["says"]
    assert found["api key"]["level"] == "ok"


def test_a_section_that_cannot_be_used_is_the_project_s_problem(cf):
    cf.declare(cache={"ttl_hours": 0})

    assert "cache.ttl_hours" in topics(cf)["project"]["says"]
