-- Tells the fleet what has become of a prefix: readable now, or not kept by the provider.
-- KEYS: prefix waiters
-- ARGV: state ttl_ms
-- state: warm or cold
-- RETURNS: who waited for it, all of whom may go on
-- REPEAT: safe; the second call returns nobody
local clock = redis.call('TIME')
local ends = clock[1] * 1000 + math.floor(clock[2] / 1000) + tonumber(A.ttl_ms)
redis.call('DEL', K.prefix)
redis.call('HSET', K.prefix, 'state', A.state, 'until', string.format('%.0f', ends))
redis.call('PEXPIRE', K.prefix, A.ttl_ms)
local waiters = redis.call('ZRANGE', K.waiters, 0, -1)
redis.call('DEL', K.waiters)
return waiters
