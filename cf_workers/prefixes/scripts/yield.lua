-- The call that went first did not get a reply: another one goes first.
-- KEYS: prefix waiters
-- ARGV: holder
-- RETURNS: the one who waited longest, if anybody; nobody if the caller does not go first any more
-- REPEAT: safe
if redis.call('HGET', K.prefix, 'holder') ~= A.holder then return {} end
redis.call('DEL', K.prefix)
local first = redis.call('ZRANGE', K.waiters, 0, 0)
if first[1] then redis.call('ZREM', K.waiters, first[1]) end
return first
