"""Flower beside real workers: runs with their graphs, the fleet's metrics, and no way to change anything."""

import json
import socket
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import eventually
from tests.support.stack import step

pytestmark = pytest.mark.integration

PATIENCE = 60
PROMPT = "do the secret thing"


class Flower:
    """Flower as `celery -A cf_workers flower` starts it, asked over HTTP."""

    def __init__(self, child, port):
        self.child = child
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path):
        with urlopen(f"{self._url}{path}", timeout=30) as answer:
            return answer.read().decode()

    def post(self, path, **fields):
        """The status and the text of the answer."""
        try:
            with urlopen(Request(f"{self._url}{path}", urlencode(fields).encode()), timeout=30) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            return error.code, error.read().decode()

    def tasks(self):
        """What the list of tasks shows, newest first."""
        query = {
            "draw": 1,
            "start": 0,
            "length": 500,
            "order[0][column]": 0,
            "order[0][dir]": "desc",
            "columns[0][data]": "received",
        }
        return json.loads(self.get(f"/tasks/datatable?{urlencode(query)}"))["data"]


@pytest.fixture(scope="module")
def flower(shared_stack):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = shared_stack.celery(
        "flower", until="Visit me at", FLOWER_PORT=str(port), FLOWER_UNAUTHENTICATED_API="true"
    )
    yield Flower(child, port)
    child.end()


def test_a_run_is_shown_while_it_goes_on_and_once_it_has_ended(flower, stack, project):
    project.workflow("pair", step("a", task=PROMPT), step("b", "a", task=f"{PROMPT} [[sim latency=120]]"))
    run = stack.client(project).start_workflow("pair")
    stack.eventually_called("latency=120")

    during, listed = flower.get(f"/run/{run.id}"), flower.get("/runs")
    run.cancel()
    eventually(lambda: run.status() == "cancelled", "the run to end", timeout=PATIENCE)
    after = flower.get(f"/run/{run.id}")

    assert f'href="/run/{run.id}"' in listed
    assert "run-box-succeeded" in during
    assert "run-box-running" in during
    assert "has been at it for" in during
    assert 'data-live="yes"' in during
    assert 'data-live="no"' in after
    assert "run-box-cancelled" in after
    assert not any(PROMPT in page for page in (during, listed, after))


def test_the_list_of_tasks_names_agent_step_and_run_and_no_prompt(flower, stack, project):
    eventually(lambda: "celery@" in flower.get("/workers"), "Flower to know the worker", timeout=PATIENCE)
    project.workflow("one", step("only", task=PROMPT))
    client = stack.client(project)

    def shown():
        run = client.start_workflow("one")
        run.result(timeout=PATIENCE)
        alone = client.submit("writer", PROMPT)
        alone.result(timeout=PATIENCE)
        tasks = {task["uuid"]: task for task in flower.tasks()}
        names = {(task["name"], task["args"]) for task in tasks.values()}
        return {
            ("cf_workers.execute_step", f"agent=writer step=only run={run.id}"),
            ("cf_workers.run_agent", "agent=writer"),
        } <= names

    eventually(shown, "both tasks in the list", timeout=PATIENCE)
    assert PROMPT not in json.dumps(flower.tasks())


def test_metrics_tell_queues_running_steps_and_tokens_beside_flower_s_own(flower, stack, project):
    stack.client(project).submit("writer", "count me").result(timeout=PATIENCE)

    def families():
        return {one.name: one for one in text_string_to_metric_families(flower.get("/metrics"))}

    eventually(lambda: "cf_workers_tokens" in families(), "tokens to be counted", timeout=PATIENCE)
    found = families()

    queues = {sample.labels["queue"] for sample in found["cf_workers_queue_messages"].samples}
    assert queues == {"control", "interactive", "batch"}
    assert found["cf_workers_server_up"].samples[0].value == 1
    assert found["cf_workers_running_steps"].samples[0].value >= 0
    assert {sample.labels["kind"] for sample in found["cf_workers_tokens"].samples} == {"input", "output"}
    assert "flower_events" in found


@pytest.mark.parametrize(
    "path",
    [
        "/api/worker/shutdown/celery@somebody",
        "/api/worker/pool/shrink/celery@somebody",
        "/api/task/revoke/some-run?terminate=true",
        "/api/task/send-task/cf_workers.run_agent",
    ],
)
def test_whoever_has_not_said_who_they_are_changes_nothing(flower, path):
    assert flower.post(path) == (403, "Read only mode is enabled")


def test_it_listens_on_this_machine_alone(flower):
    assert "Visit me at http://127.0.0.1:" in flower.child.output()
