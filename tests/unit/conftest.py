"""Fixtures of unit tests: the engine without a server, and the clock of its fake server."""

from collections.abc import Iterator

import pytest

from tests.support.engine import Engine, ServerTime
from tests.support.keys import assert_nothing_leaked


@pytest.fixture
def server_time(monkeypatch: pytest.MonkeyPatch) -> ServerTime:
    return ServerTime(monkeypatch)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine on a fake server of its own; afterwards each key has a TTL or is declared permanent."""
    made = Engine()
    yield made
    assert_nothing_leaked(made.client, request.module)
    made.close()
