"""A Lua file can share functions with others, and be called with its keys settled."""

from __future__ import annotations

from cf_workers._redis import Keys, Script

SHARD = vars(Keys().cache_shard(0))
EXPIRE = Script("cf_workers.cache", "expire")
READ = Script("cf_workers.cache", "read")


def test_a_script_uses_the_functions_of_a_file_that_it_shares(fake_redis):
    fake_redis.zadd(SHARD["expiry"], {"a": 5, "b": 7, "c": 9})
    for digest in "abc":
        fake_redis.hset(SHARD["index"], digest, "10 1 2 3 {}")

    assert EXPIRE(fake_redis, SHARD, {"now": 7, "most": 10}) == 2
    assert fake_redis.hkeys(SHARD["index"]) == [b"c"]
    fake_redis.flushall()


def test_a_script_with_its_keys_settled_survives_a_server_that_forgot_it(fake_redis):
    read = READ.on(fake_redis, {name: SHARD[name] for name in READ.keys})

    for _ in range(2):
        assert read("a", 10, 10, 5) == [5]
        fake_redis.script_flush()
