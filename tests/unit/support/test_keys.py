from types import SimpleNamespace

import pytest

from tests.support.keys import assert_nothing_leaked, leaked_keys

PERMANENT_KEYS = ("kept:*",)


def test_a_key_without_a_ttl_is_a_leak_unless_it_is_declared_permanent(fake_redis) -> None:
    fake_redis.set("forgotten", 1)
    fake_redis.set("short", 1, ex=60)
    fake_redis.set("kept:for:ever", 1)

    assert leaked_keys(fake_redis, ("kept:*",)) == ["forgotten"]
    fake_redis.delete("forgotten")


def test_the_check_after_each_test_names_the_leaked_keys(fake_redis) -> None:
    fake_redis.sadd("forgotten", 1)

    with pytest.raises(AssertionError, match="forgotten"):
        assert_nothing_leaked(fake_redis, SimpleNamespace())
    fake_redis.delete("forgotten")


def test_the_fake_server_runs_lua(fake_redis) -> None:
    assert fake_redis.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", 1, "kept:n", 7) == 7
