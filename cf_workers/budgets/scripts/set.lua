-- Sets the amount of a budget by hand, or takes that back, and lets all go on who wait for it.
-- KEYS: amounts
-- ARGV: scope amount waiting
--   amount      JSON {nanos, per}; empty takes it back
--   waiting     JSON list of keys: where steps may wait for it
-- RETURNS: names of those who waited
-- REPEAT: safe; a second call finds nobody waiting
if A.amount == '' then
    redis.call('HDEL', K.amounts, A.scope)
else
    redis.call('HSET', K.amounts, A.scope, A.amount)
end
local waiters = {}
for _, key in ipairs(cjson.decode(A.waiting)) do
    for _, waiter in ipairs(redis.call('ZRANGE', key, 0, -1)) do waiters[#waiters + 1] = waiter end
    redis.call('DEL', key)
end
return waiters
