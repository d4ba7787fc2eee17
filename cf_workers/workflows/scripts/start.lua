-- Creates a run record, unless its idempotency key is taken already - by another run than `forgotten`, whose
-- record is no longer kept.
-- KEYS: run events runs active idempotency
-- ARGV: id record deadline ttl idempotent forgotten
-- RETURNS: the id of the run that now stands for this request
-- REPEAT: safe
if A.idempotent == '1' then
    local taken = redis.call('GET', K.idempotency)
    if taken and taken ~= A.forgotten then return taken end
end
if redis.call('EXISTS', K.run) == 1 then return A.id end
local now = redis.call('TIME')
local at = string.format('%d.%06d', now[1], now[2])
local fields = {'created_at', at}
for name, value in pairs(cjson.decode(A.record)) do
    fields[#fields + 1] = name
    fields[#fields + 1] = value
end
redis.call('HSET', K.run, unpack(fields))
redis.call('EXPIRE', K.run, A.ttl)
redis.call('ZADD', K.runs, at, A.id)
redis.call('ZREMRANGEBYSCORE', K.runs, '-inf', tonumber(at) - tonumber(A.ttl))
local deadline = '+inf'
if A.deadline ~= '' then deadline = tonumber(at) + tonumber(A.deadline) end
redis.call('ZADD', K.active, deadline, A.id)
if A.idempotent == '1' then redis.call('SET', K.idempotency, A.id, 'EX', A.ttl) end
redis.call('XADD', K.events, '*', 'type', 'run.created', 'at', at)
redis.call('EXPIRE', K.events, A.ttl)
return A.id
