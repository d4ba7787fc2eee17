"""How does a Lua file become a call with named keys and arguments?"""

from __future__ import annotations

import pytest

from cf_workers._redis import Keys, Script

SHARD = vars(Keys().cache_shard(0))
EXPIRE = Script("cf_workers.cache", "expire")
READ = Script("cf_workers.cache", "read")


def test_a_script_uses_the_functions_of_the_file_it_includes(fake_redis):
    fake_redis.zadd(SHARD["expiry"], {"a": 5, "b": 7, "c": 9})
    for digest in "abc":
        fake_redis.hset(SHARD["index"], digest, "10 1 2 3 {}")

    assert EXPIRE(fake_redis, SHARD, {"now": 7, "most": 10}) == 2
    assert fake_redis.hkeys(SHARD["index"]) == [b"c"]
    fake_redis.flushall()


@pytest.mark.parametrize(
    ("keys", "args"),
    [
        (SHARD, {"now": 1}),
        (SHARD, {"now": 1, "most": 1, "more": 1}),
        ({**SHARD, "other": "x"}, {"now": 1, "most": 1}),
        ({}, {"now": 1, "most": 1}),
    ],
)
def test_names_that_are_missing_or_unknown_are_refused_before_anything_is_sent(fake_redis, keys, args):
    with pytest.raises(TypeError, match=r"expire\.lua takes KEYS"):
        EXPIRE(fake_redis, keys, args)


def test_a_script_with_its_keys_settled_survives_a_server_that_forgot_it(fake_redis):
    read = READ.on(fake_redis, {name: SHARD[name] for name in READ.keys})

    for _ in range(2):
        assert read("a", 10, 10, 5) == [5]
        fake_redis.script_flush()


def test_a_pipeline_loads_the_scripts_it_needs(fake_redis):
    with fake_redis.pipeline() as pipe:
        EXPIRE(pipe, SHARD, {"now": 1, "most": 1})
        assert pipe.execute() == [0]
