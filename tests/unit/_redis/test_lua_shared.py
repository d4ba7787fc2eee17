"""A Lua file can share functions with others, and be called with its keys settled."""

from __future__ import annotations

import pytest
import redis

from cf_workers._redis import Keys, Script, load_scripts

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


class Breaking:
    """The connections of a pool, the first of which breaks off after a command was sent."""

    def __init__(self, client, error):
        self._pool = client.connection_pool
        self._error = error
        self._client = client
        self.out = 0

    @property
    def connection_pool(self):
        return self

    def get_connection(self):
        self.out += 1
        connection, error = self._pool.get_connection(), self._error

        class Connection:
            send_command = connection.send_command
            real = connection

            def read_response(self):
                connection.read_response()
                raise error

        return Connection()

    def release(self, connection):
        self.out -= 1
        self._pool.release(connection.real)

    def __getattr__(self, name):
        return getattr(self._client, name)


def test_a_script_with_its_keys_settled_is_tried_again_as_the_client_does(fake_redis):
    client = Breaking(fake_redis, redis.ConnectionError("reset by peer"))
    read = READ.on(client, {name: SHARD[name] for name in READ.keys})

    load_scripts(fake_redis)

    assert read("a", 10, 10, 5, "") == [5]
    assert client.out == 0


def test_a_script_with_its_keys_settled_is_not_tried_again_after_a_time_out(fake_redis):
    client = Breaking(fake_redis, redis.TimeoutError("slow"))
    read = READ.on(client, {name: SHARD[name] for name in READ.keys})

    load_scripts(fake_redis)

    with pytest.raises(redis.TimeoutError):
        read("a", 10, 10, 5, "")
    assert client.out == 0
