"""Fixtures of the cache's tests: a clock that stands still, and a cache on a fake server."""

from __future__ import annotations

import hashlib

import pytest

from cf_workers._redis import Keys
from cf_workers.cache import Cache, CachePolicy
from cf_workers.cache.secret import GivenSecret
from tests.support.time import StandingClock


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def key_of():
    """A fingerprint for a short name."""
    return lambda name: hashlib.sha256(str(name).encode()).hexdigest()


@pytest.fixture
def make_cache(fake_redis, clock):
    """A cache on the test's server, like that of another process: `make_cache(max_bytes=…)`."""

    def make(secret: bytes = b"a secret of the test", **policy) -> Cache:
        return Cache(fake_redis, Keys(), GivenSecret(secret), clock=clock, policy=CachePolicy(**policy))

    return make


@pytest.fixture
def cache(make_cache) -> Cache:
    return make_cache()
