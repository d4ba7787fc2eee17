"""Celery's own commands work on `-A cf_workers` without further flags, and tell no secrets."""

import json

import pytest
import redis

from tests.support.servers import RealServer, Store
from tests.support.stack import Stack

pytestmark = pytest.mark.integration

PASSWORD = "correct-horse-battery"


def test_the_worker_answers_ping_and_lists_its_tasks(stack):
    ping = stack.celery("inspect", "ping", until=None)
    registered = stack.celery("inspect", "registered", "--json", until=None)

    assert ping.wait(timeout=60) == 0
    assert "pong" in ping.output()
    assert registered.wait(timeout=60) == 0
    (tasks,) = json.loads(registered.output().splitlines()[-1]).values()
    assert {"cf_workers.run_agent", "cf_workers.execute_step", "cf_workers.finish_run"} <= set(tasks)


def test_neither_report_nor_worker_nor_client_tells_the_servers_password(processes, project, tmp_path):
    with RealServer(port=None) as server:
        url = f"redis://:{PASSWORD}@{server.connection_url.removeprefix('redis://')}/0"
        with redis.Redis.from_url(server.connection_url) as client:
            client.config_set("requirepass", PASSWORD)
        stack = Stack(Store(url), NoProvider(), processes)
        report = stack.celery("report", until=None)
        worker = stack.worker(cwd=project.root)
        ping = stack.celery("inspect", "ping", until=None)

        assert (report.wait(timeout=60), ping.wait(timeout=60)) == (0, 0)
        assert "cf_workers" in report.output()
        worker.terminate()

    for process in processes:
        assert PASSWORD not in process.output(), process.name


class NoProvider:
    """Nothing is asked here."""

    url = "http://127.0.0.1:9"
