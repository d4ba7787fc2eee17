"""Variables of the environment, without those of the machine that name a server."""

import pytest


@pytest.fixture
def env(monkeypatch):
    return lambda **values: [monkeypatch.setenv(name, value) for name, value in values.items()]


@pytest.fixture(autouse=True)
def _no_server_named(monkeypatch):
    monkeypatch.delenv("CF_WORKERS_REDIS_URL", raising=False)
