"""Can a caller use the cache without ever depending on it?"""

from __future__ import annotations

import pytest
import redis

from cf_workers._redis import Keys
from cf_workers.cache import Alone, Cache, CachePolicy, Hit, Landed, Lead, Miss, cacheable_reply
from cf_workers.cache.cooldown import Cooldown
from cf_workers.cache.secret import GivenSecret
from cf_workers.errors import ConfigError, ServerUnreachableError

PERMANENT_KEYS = ("cfw:cache:{*}:counters",)

KEY = "a" * 64


class FailingServer:
    """A client of a server that answers nothing but errors, until it is well again."""

    def __init__(self, client, error):
        self._client = client
        self.error = error
        self.asked = 0

    @property
    def connection_pool(self):
        return FailingPool(self, self._client.connection_pool)

    def ask(self):
        self.asked += 1
        if self.error:
            raise self.error

    def __getattr__(self, name):
        def command(*args, **kwargs):
            self.ask()
            return getattr(self._client, name)(*args, **kwargs)

        return command


class FailingPool:
    """The connections of such a server."""

    def __init__(self, server, pool):
        self._server = server
        self._pool = pool

    def get_connection(self):
        self._server.ask()
        return self._pool.get_connection()

    def release(self, connection):
        self._pool.release(connection)


ERRORS = [redis.ConnectionError("gone"), redis.TimeoutError("slow"), redis.ResponseError("OOM")]


@pytest.fixture
def failing(fake_redis):
    def make(error=ERRORS[0], cooldown_seconds=0.0):
        server = FailingServer(fake_redis, error)
        policy = CachePolicy(cooldown_seconds=cooldown_seconds)
        return server, Cache(server, Keys(), GivenSecret(b"s"), policy=policy)

    return make


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_the_server_does_a_caller_meets_a_miss_and_goes_on_alone(failing, error):
    _, cache = failing(error)
    lead = Lead(KEY, "h", 0.0)

    assert cache.lookup(KEY) == cache.lookup(KEY, allow_stale=True) == Miss("unavailable")
    assert cache.store(KEY, "answer", tags={}, cost_nanos=1) is False
    assert cache.seek(KEY, holder="h", waiter="w") == Alone()
    assert cache.complete(lead, 1, tags={}, cost_nanos=None) == Landed(kept=False, waiters=[])
    assert cache.abandon(lead) == cache.disperse(lead) == cache.fail(lead, {}) == []
    assert cache.failures == 8


def test_what_a_person_asks_for_says_that_the_server_fails(failing):
    _, cache = failing()

    for ask in (cache.stats, cache.clear, lambda: cache.invalidate(agent="a"), lambda: cache.inspect(KEY)):
        with pytest.raises(ServerUnreachableError):
            ask()


def test_a_server_that_fails_is_left_alone_for_a_while(failing):
    server, cache = failing(cooldown_seconds=60)
    for _ in range(100):
        assert cache.lookup(KEY) == Miss("unavailable")

    assert server.asked == 1


def test_failures_are_counted_for_the_fleet_once_the_server_is_back(failing):
    server, cache = failing()
    for _ in range(3):
        cache.lookup(KEY)
    server.error = None

    cache.store(KEY, "answer", tags={}, cost_nanos=None)
    cache.store(KEY, "answer", tags={}, cost_nanos=None)

    assert isinstance(cache.lookup(KEY), Hit)
    assert cache.stats().failures == 3


def test_after_a_cooldown_one_caller_tries_for_all(monkeypatch):
    now = [0.0]
    cooldown = Cooldown(5, monotonic=lambda: now[0])
    assert cooldown.over
    cooldown.failed()

    assert not cooldown.over
    now[0] = 5.0
    assert [cooldown.over for _ in range(4)] == [True, False, False, False]
    cooldown.succeeded()
    assert [cooldown.over for _ in range(2)] == [True, True]


def test_a_cache_that_is_off_neither_keeps_nor_asks(failing):
    server, _ = failing()
    cache = Cache(server, Keys(), GivenSecret(b"s"), policy=CachePolicy(enabled=False))

    assert cache.store(KEY, "answer", tags={}, cost_nanos=None) is False
    assert cache.lookup(KEY) == Miss("disabled")
    assert server.asked == 0


@pytest.mark.parametrize(
    ("stop_reason", "output", "kept"),
    [
        ("end_turn", "an answer", True),
        ("stop_sequence", "an answer", True),
        ("max_tokens", "an ans", False),
        ("model_context_window_exceeded", "an ans", False),
        ("refusal", "I cannot", False),
        ("tool_use", "I will look", False),
        ("pause_turn", "wait", False),
        ("some_new_reason", "an answer", False),
        ("end_turn", "", False),
        ("end_turn", " \n\t", False),
    ],
)
def test_only_a_complete_answer_may_answer_later_calls(stop_reason, output, kept):
    assert cacheable_reply(stop_reason, output) is kept


def test_a_projects_section_becomes_a_policy():
    policy = CachePolicy.of_section(enabled=True, ttl_hours=0.5, max_size_mb=1.5)

    assert (policy.ttl_seconds, policy.max_bytes) == (1_800.0, 1_572_864)


@pytest.mark.parametrize(
    "wrong", [{"ttl_seconds": 0}, {"max_bytes": -1}, {"shards": 0}, {"ttl_seconds": float("nan")}]
)
def test_a_policy_that_cannot_work_is_refused_with_the_name_of_the_value(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CachePolicy(**wrong)
