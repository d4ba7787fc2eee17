-- Asks a run to stop: nothing more is started, calls in flight are cut.
-- KEYS: run events
-- ARGV: reason
-- RETURNS: {verdict, running, attempt}; verdict is stopping, finished or gone
-- REPEAT: safe; the first reason stands
local state = redis.call('HMGET', K.run, 'status', 'stopping', 'running', 'attempt')
if not state[1] then return {'gone', 0, 0} end
if state[1] == 'succeeded' or state[1] == 'failed' or state[1] == 'cancelled' then
    return {'finished', 0, tonumber(state[4])}
end
if state[2] == '' then
    local clock = redis.call('TIME')
    redis.call('HSET', K.run, 'stopping', A.reason)
    redis.call('XADD', K.events, '*', 'type', 'run.stopping', 'at', string.format('%d.%06d', clock[1], clock[2]),
        'reason', A.reason)
end
return {'stopping', tonumber(state[3] or '0'), tonumber(state[4])}
