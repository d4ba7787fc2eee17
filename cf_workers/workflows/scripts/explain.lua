-- Says anew what a parked step waits for.
-- KEYS: steps events
-- ARGV: step reason
-- RETURNS: 1, or 0 when it is not parked
-- REPEAT: safe
local raw = redis.call('HGET', K.steps, A.step)
local step = raw and cjson.decode(raw)
if not step or step.s ~= 'parked' then return 0 end
if step.y == A.reason then return 1 end
step.y = A.reason
redis.call('HSET', K.steps, A.step, cjson.encode(step))
local clock = redis.call('TIME')
redis.call('XADD', K.events, '*', 'type', 'step.parked', 'at', string.format('%d.%06d', clock[1], clock[2]),
    'step', A.step, 'attempts', step.a, 'countdown', math.max(0, step.due - clock[1]), 'reason', A.reason)
return 1
