-- Ends a run whose steps have all ended, or one that is stopping and has nothing in flight.
-- KEYS: run steps results outputs order events active
-- ARGV: id attempt retention
-- RETURNS: {verdict, status}; verdict is ended, already, early (steps are left), busy (calls are in flight),
--   stale (another attempt) or gone
-- REPEAT: safe
local state = redis.call('HMGET', K.run, 'status', 'stopping', 'attempt', 'left', 'running', 'failed')
if not state[1] then
    redis.call('ZREM', K.active, A.id)
    return {'gone', ''}
end
if state[3] ~= A.attempt then return {'stale', state[1]} end
if state[1] == 'succeeded' or state[1] == 'failed' or state[1] == 'cancelled' then
    redis.call('ZREM', K.active, A.id)
    return {'already', state[1]}
end
local status
if tonumber(state[4]) == 0 then
    status = tonumber(state[6] or '0') > 0 and 'failed' or 'succeeded'
    if state[2] == 'cancelled' then status = 'cancelled' end
    if state[2] == 'timeout' then status = 'failed' end
elseif state[2] == '' then
    return {'early', state[1]}
elseif tonumber(state[5] or '0') > 0 then
    return {'busy', state[1]}
else
    status = state[2] == 'timeout' and 'failed' or 'cancelled'
end
local clock = redis.call('TIME')
local at = string.format('%d.%06d', clock[1], clock[2])
redis.call('HSET', K.run, 'status', status, 'finished_at', at)
redis.call('ZREM', K.active, A.id)
redis.call('XADD', K.events, '*', 'type', 'run.finished', 'at', at, 'status', status)
for _, key in ipairs({K.run, K.steps, K.results, K.outputs, K.order, K.events}) do
    redis.call('EXPIRE', key, A.retention)
end
return {'ended', status}
