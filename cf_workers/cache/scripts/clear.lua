-- Empties a shard at once, however large it is; its counters stay.
-- KEYS: entries index lru expiry state
-- ARGV:
-- RETURNS: how many entries there were
-- REPEAT: safe
local entries = redis.call('HLEN', K.entries)
redis.call('UNLINK', K.entries, K.index, K.lru, K.expiry)
redis.call('HDEL', K.state, 'bytes')
return entries
