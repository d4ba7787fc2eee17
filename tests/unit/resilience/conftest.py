from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from cf_workers._redis import Keys
from cf_workers.resilience import Guard, GuardPolicy, Scope
from tests.support.time import ServerTime, scripted_server_time

SCOPE = Scope("c", "opus")


@pytest.fixture
def server_time(monkeypatch: pytest.MonkeyPatch) -> ServerTime:
    return scripted_server_time(monkeypatch)


@pytest.fixture
def guard_with(server_time: ServerTime, fake_redis) -> Callable[..., Guard]:
    """A guard with the given policies, on a fake server whose time the test moves."""

    def build(**policies) -> Guard:
        return Guard(fake_redis, Keys(), GuardPolicy(**policies), draw=random.Random(7).random)

    return build
