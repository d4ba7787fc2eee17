"""With which secret are entries signed?"""

from __future__ import annotations

import logging

import pytest

from cf_workers._redis import Keys
from cf_workers.cache import Cache, Hit, Miss, signing_secret
from cf_workers.errors import ConfigError

PERMANENT_KEYS = ("cfw:cache:{*}:counters", "cfw:cache:secret")

KEY = "a" * 64


def of(environ, client):
    return signing_secret(environ, client, Keys())


@pytest.mark.parametrize("given", [{}, {"CLAUDE_CACHE_SECRET": " "}])
@pytest.mark.parametrize("word", ["production", " Production "])
def test_production_refuses_to_start_without_a_secret(fake_redis, given, word):
    with pytest.raises(ConfigError, match="CLAUDE_CACHE_SECRET") as refused:
        of({"CLAUDE_ENV": word, **given}, fake_redis)
    assert "CLAUDE_CACHE_SECRET" in refused.value.hint
    assert fake_redis.dbsize() == 0


def test_a_given_secret_is_used_as_it_is_and_never_shown(fake_redis):
    source = of({"CLAUDE_ENV": "production", "CLAUDE_CACHE_SECRET": "s3cret"}, fake_redis)

    assert source.get() == b"s3cret"
    assert "s3cret" not in repr(source)
    assert fake_redis.dbsize() == 0


def test_development_generates_one_secret_for_the_whole_fleet_and_says_so_once(fake_redis, caplog):
    with caplog.at_level(logging.WARNING):
        secrets = {of({}, fake_redis).get() for _ in range(3)}

    assert len(secrets) == 1
    assert len(secrets.pop()) >= 32
    assert len(caplog.records) == 1
    assert fake_redis.get("cfw:cache:secret").decode() not in caplog.text


def test_processes_with_different_secrets_do_not_trust_each_other(fake_redis):
    def cache(secret):
        return Cache(fake_redis, Keys(), of({"CLAUDE_CACHE_SECRET": secret}, fake_redis))

    cache("one").store(KEY, "answer", tags={}, cost_nanos=None)

    assert cache("two").lookup(KEY) == Miss("absent")


def test_a_new_generated_secret_is_taken_up_without_a_restart(fake_redis):
    lasting = Cache(fake_redis, Keys(), of({}, fake_redis))
    lasting.lookup(KEY)
    fake_redis.flushall()
    Cache(fake_redis, Keys(), of({}, fake_redis)).store(KEY, "answer", tags={}, cost_nanos=None)

    assert isinstance(lasting.lookup(KEY), Hit)
    assert lasting.stats().integrity_failures == 0
