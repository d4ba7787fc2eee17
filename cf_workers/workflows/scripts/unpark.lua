-- Makes a parked step due now, and before all that are only due: what it waits for has happened.
-- KEYS: steps parked
-- ARGV: id step
-- RETURNS: 1; 0 when it is running, and may be about to be parked; -1 when it is neither
-- REPEAT: safe
local raw = redis.call('HGET', K.steps, A.step)
local step = raw and cjson.decode(raw)
if not step or step.s ~= 'parked' then return step and step.s == 'running' and 0 or -1 end
local clock = redis.call('TIME')
step.due = tonumber(string.format('%d.%06d', clock[1], clock[2]))
redis.call('HSET', K.steps, A.step, cjson.encode(step))
redis.call('ZADD', K.parked, 'XX', 0, A.id .. '\t' .. A.step)
return 1
