"""The only way into Redis: every key and its lifetime, Lua scripts by name, connections."""

from cf_workers._redis.connect import RedisClient, connect, describe_url
from cf_workers._redis.keys import PERMANENT, GuardKeys, Keys
from cf_workers._redis.lua import Script

__all__ = ["PERMANENT", "GuardKeys", "Keys", "RedisClient", "Script", "connect", "describe_url"]
