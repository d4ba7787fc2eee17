-- Makes a run that has ended ready for another attempt: what succeeded stays, everything else is forgotten.
-- KEYS: run steps results outputs order events active
-- ARGV: id total deadline ttl
-- RETURNS: {verdict, attempt}; verdict is reopened, running, nothing or gone
-- REPEAT: not safe; a second call finds the run active and says so
local state = redis.call('HMGET', K.run, 'status', 'attempt')
if not state[1] then return {'gone', 0} end
if state[1] ~= 'failed' and state[1] ~= 'cancelled' then
    return {state[1] == 'succeeded' and 'nothing' or 'running', tonumber(state[2])}
end
local kept = {}
local all = redis.call('HGETALL', K.steps)
for index = 1, #all, 2 do
    if cjson.decode(all[index + 1]).s == 'succeeded' then
        kept[#kept + 1] = all[index]
    else
        for _, key in ipairs({K.steps, K.results, K.outputs}) do redis.call('HDEL', key, all[index]) end
        redis.call('LREM', K.order, 0, all[index])
    end
end
local attempt = redis.call('HINCRBY', K.run, 'attempt', 1)
local clock = redis.call('TIME')
local at = string.format('%d.%06d', clock[1], clock[2])
redis.call('HSET', K.run, 'status', 'pending', 'stopping', '', 'left', tonumber(A.total) - #kept, 'running', 0, 'parked', 0,
    'failed', 0, 'kept', #kept > 0 and cjson.encode(kept) or '[]', 'reopened_at', at)
redis.call('HDEL', K.run, 'finished_at')
local deadline = '+inf'
if A.deadline ~= '' then deadline = tonumber(at) + tonumber(A.deadline) end
redis.call('ZADD', K.active, deadline, A.id)
for _, key in ipairs({K.run, K.steps, K.results, K.outputs, K.order, K.events}) do
    redis.call('EXPIRE', key, A.ttl)
end
redis.call('XADD', K.events, '*', 'type', 'run.reopened', 'at', at, 'attempt', attempt)
return {'reopened', attempt}
