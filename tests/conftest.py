"""Fixtures of every test.

`valkey`: an empty database of a real server. `fake_redis`: the same without a server, with Lua. After both,
every key must have a TTL or be declared permanent. `processes`: starts processes and ends them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest

from tests.support.environ import is_private
from tests.support.keys import assert_nothing_leaked
from tests.support.processes import Processes
from tests.support.servers import SharedServer, Store, running_server

PROCESSES = pytest.StashKey[Processes]()


def pytest_configure() -> None:
    """No test sees a key, a server or a setting of the developer's own."""
    for name in [name for name in os.environ if is_private(name)]:
        del os.environ[name]


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[SharedServer]:
    yield from running_server()


@pytest.fixture
def valkey(valkey_server: SharedServer, request: pytest.FixtureRequest) -> Iterator[Store]:
    store = valkey_server.fresh_store()
    yield store
    with store.client() as client:
        assert_nothing_leaked(client, request.module)


@pytest.fixture
def fake_redis(request: pytest.FixtureRequest) -> Iterator[fakeredis.FakeRedis]:
    with fakeredis.FakeRedis(server=fakeredis.FakeServer()) as client:
        yield client
        assert_nothing_leaked(client, request.module)


@pytest.fixture
def processes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Processes]:
    started = request.node.stash[PROCESSES] = Processes(tmp_path)
    yield started
    started.end_all()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows the end of the log of every process it started."""
    report = yield
    if report.failed:
        for child in item.stash.get(PROCESSES, ()):
            report.sections.append((f"log of {child.name} (pid {child.pid})", child.tail()))
    return report
