-- Ends a step: state, result, output, totals and event in one go, or nothing at all if the fence is stale.
-- KEYS: run steps results outputs order events claims counters daily samples
-- ARGV: id step fence status attempts counts_against result output input_tokens output_tokens cost_nanos ttl lost saved_nanos account sums daily_ttl sample samples_kept samples_ttl
-- RETURNS: {1, left, running, stopping} when committed, {0, 0, 0, ''} when the fence is stale or the record has expired
-- REPEAT: safe; a second call finds the step ended under its own fence, and answers as the first did
-- USES: spent accounts
local raw = redis.call('HGET', K.steps, A.step)
local step = raw and cjson.decode(raw)
if not step or tonumber(step.f) ~= tonumber(A.fence) then return {0, 0, 0, ''} end
if redis.call('EXISTS', K.run) == 0 then return {0, 0, 0, ''} end
if step.s == A.status then
    local now = redis.call('HMGET', K.run, 'left', 'running', 'stopping')
    return {1, tonumber(now[1]), tonumber(now[2]), now[3]}
end
if step.s ~= 'running' then return {0, 0, 0, ''} end
local clock = redis.call('TIME')
local at = string.format('%d.%06d', clock[1], clock[2])

step.s = A.status
step.fin = at
step.a = tonumber(A.attempts)
redis.call('HSET', K.steps, A.step, cjson.encode(step))
redis.call('HSET', K.results, A.step, A.result)
if A.output ~= '' then redis.call('HSET', K.outputs, A.step, A.output) end
redis.call('RPUSH', K.order, A.step)
for _, key in ipairs({K.results, K.outputs, K.order}) do
    if redis.call('TTL', key) == -1 then redis.call('EXPIRE', key, A.ttl) end
end
redis.call('ZREM', K.claims, A.id .. '\t' .. A.step .. '\t' .. step.f)

if A.counts_against == '1' then redis.call('HINCRBY', K.run, 'failed', 1) end
add_lost(A.lost)
add_to_run()
if A.saved_nanos ~= '0' then redis.call('HINCRBY', K.run, 'saved_nanos', A.saved_nanos) end
local left = redis.call('HINCRBY', K.run, 'left', -1)
local running = redis.call('HINCRBY', K.run, 'running', -1)
redis.call('XADD', K.events, '*', 'type', 'step.' .. A.status, 'at', at, 'step', A.step, 'attempts', A.attempts,
    'input_tokens', A.input_tokens, 'output_tokens', A.output_tokens, 'cost_nanos', A.cost_nanos)
local of = redis.call('HMGET', K.run, 'stopping', 'kind', 'name')
add_to_day(A.sums, of[2], of[3])
if A.sample ~= '' then
    redis.call('LPUSH', K.samples, A.sample)
    redis.call('LTRIM', K.samples, 0, A.samples_kept - 1)
    redis.call('EXPIRE', K.samples, A.samples_ttl)
end
return {1, left, running, of[1]}
