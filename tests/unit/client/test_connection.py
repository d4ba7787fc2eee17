"""What a program works with is opened when it is first needed; who does not answer is named."""

import pytest

from cf_workers.client import Client
from cf_workers.errors import ConfigError, NoWorkerError, ServerUnreachableError
from cf_workers.workflows.liveness import Heartbeat
from tests.support.engine import Engine, FakeServer, fake_client
from tests.support.offline import offline_client
from tests.support.projects import write_project


@pytest.fixture
def server():
    return FakeServer()


@pytest.fixture
def engine(server):
    made = Engine(client=fake_client(server))
    yield made
    made.close()


@pytest.fixture
def client(engine, tmp_path):
    return offline_client(engine, write_project(tmp_path, "greeter"))


def test_workers_are_found_by_the_queue_that_they_listen_on(client, engine):
    with pytest.raises(NoWorkerError, match=r"queue 'interactive' at redis://nowhere\.invalid:1/0"):
        client.require_worker()

    about = {"worker": "w1", "queues": ["interactive"]}
    Heartbeat(engine.client, engine.keys, worker="w1", about=lambda: about).beat()

    client.require_worker()
    assert client.workers() == client.workers("interactive") == [about]
    assert client.workers("batch") == []


def test_a_server_that_does_not_answer_is_named_without_its_password(client, server):
    server.connected = False

    for act in (client.ping, client.workers, lambda: client.submit("greeter", "hi")):
        with pytest.raises(ServerUnreachableError, match=r"redis://nowhere\.invalid:1/0") as caught:
            act()
        assert "s3cret" not in f"{caught.value!r} {caught.value.details}"
        assert caught.value.exit_code == 3
    server.connected = True
    client.ping()


def test_a_client_that_did_nothing_opened_nothing():
    with Client("no-such-project.json") as client:
        pass

    assert not {"context", "_redis", "_app"} & client.__dict__.keys()


def test_a_project_that_is_not_there_is_told_at_the_first_use():
    client = Client("no-such-project.json")

    with pytest.raises(ConfigError, match=r"no-such-project\.json"):
        client.submit("greeter", "hi")
