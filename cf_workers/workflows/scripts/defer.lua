-- Gives a claim back until a later moment: after a failed attempt, whose message is on its way already
-- (retrying), or before a call that may not be made yet, for which there is no message at all (parked).
-- KEYS: run steps events claims waiting counters daily
-- ARGV: id step fence attempts state countdown reason lost input_tokens output_tokens cost_nanos probe account sums daily_ttl
-- RETURNS: 1, or 0 when the fence is stale or the record has expired
-- REPEAT: safe; a second call finds the claim given back under its own fence, and changes nothing
-- USES: spent accounts
local raw = redis.call('HGET', K.steps, A.step)
local step = raw and cjson.decode(raw)
if not step or tonumber(step.f) ~= tonumber(A.fence) then return 0 end
if redis.call('EXISTS', K.run) == 0 then return 0 end
if step.s == A.state then return 1 end
if step.s ~= 'running' then return 0 end
local clock = redis.call('TIME')
local at = string.format('%d.%06d', clock[1], clock[2])
step.s = A.state
step.a = tonumber(A.attempts)
step.y = A.reason
if A.probe == '1' then step.p = (step.p or 0) + 1 end
step.due = tonumber(at) + tonumber(A.countdown)
redis.call('HSET', K.steps, A.step, cjson.encode(step))
redis.call('ZREM', K.claims, A.id .. '\t' .. A.step .. '\t' .. step.f)
redis.call('ZADD', K.waiting, step.due, A.id .. '\t' .. A.step)
redis.call('HINCRBY', K.run, 'running', -1)
if A.state == 'parked' then redis.call('HINCRBY', K.run, 'parked', 1) end
add_lost(A.lost)
add_to_run()
if A.account ~= '' then
    local of = redis.call('HMGET', K.run, 'kind', 'name')
    add_to_day(A.sums, of[1], of[2])
end
redis.call('XADD', K.events, '*', 'type', 'step.' .. A.state, 'at', at, 'step', A.step, 'attempts', A.attempts,
    'countdown', A.countdown, 'reason', A.reason)
return 1
