"""The local stack is what the Procfile lists, and does not start where it could not work."""

import socket

import pytest

from cf_workers.cli.procfile import PROCESSES, procfile
from cf_workers.cli.up import READY, STAGES
from tests.support.environ import ROOT


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("CF_WORKERS_REDIS_URL", raising=False)
    return monkeypatch


def test_the_procfile_lists_what_up_starts():
    assert (ROOT / "Procfile").read_text() == procfile()
    assert set(PROCESSES) == set(READY) == set(STAGES)
    assert all(command.startswith("celery -A cf_workers ") for command in PROCESSES.values())


def test_workers_are_stopped_first_then_beat_then_flower():
    assert sorted(STAGES, key=STAGES.__getitem__) == ["worker", "beat", "flower"]


def test_a_port_that_is_taken_is_told_before_anything_is_started(cf):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        result = cf("up", "--flower-port", str(port))

    assert result.exit_code == 2
    assert f"127.0.0.1:{port}" in result.stderr
    assert "--no-flower" in result.stderr
    assert cf.no_server_was_started


def test_the_port_may_come_from_flower_s_own_variable(cf, environment):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        environment.setenv("FLOWER_PORT", str(taken.getsockname()[1]))

        assert cf("up").exit_code == 2


def test_a_project_file_that_is_no_json_starts_nothing(cf):
    cf.project.write_text("{")

    assert cf("up", "--flower-port", "0").exit_code == 2
    assert cf.no_server_was_started


def test_a_server_that_is_away_ends_with_3(cf, environment):
    environment.setenv("CF_WORKERS_REDIS_URL", "redis://:geheim@127.0.0.1:1/0")

    result = cf("up", "--no-flower", "--json")

    assert result.exit_code == 3
    assert "geheim" not in result.output


@pytest.mark.parametrize("words", [["--workers", "0"], ["--flower-port", "70000"], ["--worker", "2"]])
def test_wrong_options_end_with_2(words, cf):
    assert cf("up", *words).exit_code == 2
