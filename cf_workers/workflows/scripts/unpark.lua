-- Makes a parked step due now, and before all that are only due: what it waits for has happened.
-- KEYS: steps parked
-- ARGV: id step
-- RETURNS: 1, or 0 when it is not parked
-- REPEAT: safe
local raw = redis.call('HGET', K.steps, A.step)
local step = raw and cjson.decode(raw)
if not step or step.s ~= 'parked' then return 0 end
local clock = redis.call('TIME')
step.due = tonumber(string.format('%d.%06d', clock[1], clock[2]))
redis.call('HSET', K.steps, A.step, cjson.encode(step))
redis.call('ZADD', K.parked, 'XX', 0, A.id .. '\t' .. A.step)
return 1
