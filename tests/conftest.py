"""Fixtures of every test.

`valkey`: an empty database of a real server. `fake_redis`: the same without a server, with Lua. After both,
every key must have a TTL or be declared permanent. `processes`: starts processes and ends them.

`stack`: the whole system with a worker that all tests share; a test that kills or starves workers asks for
`own_stack` and starts its own. `project`: a folder that a test fills with agents and workflows.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest

from tests.support.brokers import own_broker
from tests.support.environ import forget_private_settings
from tests.support.keys import assert_nothing_leaked
from tests.support.processes import Child, Processes
from tests.support.servers import RealServer, SharedServer, Store, running_server
from tests.support.stack import ProjectFolder, Stack, running_simulator
from tests.support.waiting import eventually

PROCESSES = pytest.StashKey[Processes]()
SHARED_PROCESSES = pytest.StashKey[Processes]()

NOWHERE = "redis://127.0.0.1:1/0"
"""The server of a test that names none, so that none is started for it."""

HOUSE_AGENTS = ("writer", "reviewer", "tester")
"""The agents of the shared worker's own project; `project` begins with the same."""


def pytest_configure() -> None:
    """No test sees a key, a server or a setting of the developer's own, or keeps state among theirs."""
    forget_private_settings()
    state = os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="cf-workers-tests-")
    atexit.register(shutil.rmtree, state, ignore_errors=True)  # after all that ends at exit
    os.environ["CF_WORKERS_REDIS_URL"] = NOWHERE


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


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A server, a simulated provider and one worker for all tests that leave them as they are."""
    home = tmp_path_factory.mktemp("shared-worker")
    house = _furnished(ProjectFolder(home))
    processes = request.config.stash[SHARED_PROCESSES] = Processes(home)
    with RealServer(port=None) as server, running_simulator() as simulator, own_broker() as broker:
        stack = Stack(Store(f"{server.connection_url}/0"), simulator, processes, **broker)
        stack.celery("worker", "-l", "INFO", cwd=house.root)
        yield stack
        stack.close()
        processes.end_all()


@pytest.fixture
def stack(shared_stack: Stack, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The shared stack, with a provider that remembers nothing and does as it is told again."""
    shared_stack.simulator.reset()
    yield shared_stack
    shared_stack.close()
    eventually(lambda: shared_stack.messages_left() == 0, "the worker to be idle")
    with shared_stack.redis() as client:
        assert_nothing_leaked(client, request.module)


@pytest.fixture
def house(shared_stack: Stack) -> Iterator[ProjectFolder]:
    """The shared worker's own project, which a test may change; it is put back afterwards."""
    folder = ProjectFolder(shared_stack.processes.home)
    yield _furnished(folder)
    _furnished(folder)


@pytest.fixture
def own_stack(valkey: Store, processes: Processes) -> Iterator[Stack]:
    """A server's empty database and a simulated provider; the test starts its workers itself."""
    with running_simulator() as simulator, own_broker() as broker:
        stack = Stack(valkey, simulator, processes, **broker)
        yield stack
        stack.close()
        for child in processes:
            child.kill()  # a worker takes two seconds to end by itself


@pytest.fixture
def project(tmp_path: Path) -> ProjectFolder:
    return _furnished(ProjectFolder(tmp_path / "project"))


def _furnished(folder: ProjectFolder) -> ProjectFolder:
    for name in HOUSE_AGENTS:
        folder.agent(name)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows the end of the log of every process it started."""
    report = yield
    if report.failed:
        for child in (*item.stash.get(PROCESSES, ()), *_shared_processes(item)):
            report.sections.append((f"log of {child.name} (pid {child.pid})", child.tail()))
    return report


def _shared_processes(item: pytest.Item) -> tuple[Child, ...]:
    if "shared_stack" not in getattr(item, "fixturenames", ()):
        return ()
    return tuple(item.config.stash.get(SHARED_PROCESSES, ()))
