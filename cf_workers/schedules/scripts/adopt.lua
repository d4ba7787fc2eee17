-- Takes note of a schedule, or of the change of its times: ticks before this moment are nobody's.
-- After a change the last `grace` seconds stay: two beats may hold two versions of it for a while.
-- KEYS: standing
-- ARGV: timing now grace ttl
-- RETURNS: 1 when something was noted
-- REPEAT: safe
local found = redis.call('HMGET', K.standing, 'timing', 'last')
if found[1] == A.timing then return 0 end
local last = tonumber(A.now)
if found[1] then last = math.max(tonumber(found[2] or '0'), last - tonumber(A.grace)) end
redis.call('HSET', K.standing, 'timing', A.timing, 'last', string.format('%d', last))
redis.call('EXPIRE', K.standing, A.ttl)
return 1
