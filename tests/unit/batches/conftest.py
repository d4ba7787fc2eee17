"""The batch lane on a fake server whose clock stands still."""

import pytest

from tests.support.batches import Lane
from tests.support.engine import FakeServer, fake_client
from tests.support.keys import assert_nothing_leaked
from tests.support.time import scripted_server_time


@pytest.fixture
def lane(monkeypatch, request):
    clock = scripted_server_time(monkeypatch)
    client = fake_client(FakeServer())
    yield Lane(client, clock)
    assert_nothing_leaked(client, request.module)
    client.close()
