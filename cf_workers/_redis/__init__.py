"""The only way into Redis: every key and its lifetime, Lua scripts by name, connections."""

from cf_workers._redis.connect import (
    RedisClient,
    connect,
    connect_bounded,
    describe_url,
    server_time,
)
from cf_workers._redis.keys import PERMANENT, BatchKeys, CacheShardKeys, FlightKeys, GuardKeys, Keys
from cf_workers._redis.lua import Script, load_scripts

__all__ = [
    "PERMANENT",
    "BatchKeys",
    "CacheShardKeys",
    "FlightKeys",
    "GuardKeys",
    "Keys",
    "RedisClient",
    "Script",
    "connect",
    "connect_bounded",
    "describe_url",
    "load_scripts",
    "server_time",
]
