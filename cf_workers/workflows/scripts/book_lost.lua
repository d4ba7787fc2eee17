-- Adds a call to a run's totals, and to those of the day, that was paid and whose answer came too late for it.
-- KEYS: run counters daily
-- ARGV: input_tokens output_tokens cost_nanos account sums daily_ttl
-- RETURNS: 1, or 0 when there is no such run any more; day and counter count it all the same
-- REPEAT: not safe
-- USES: accounts
redis.call('HINCRBY', K.counters, 'lost_calls', 1)
local of = redis.call('HMGET', K.run, 'kind', 'name')
add_to_day(A.sums, of[1], of[2])
if not of[1] then return 0 end
redis.call('HINCRBY', K.run, 'lost_calls', 1)
redis.call('HINCRBY', K.run, 'input_tokens', A.input_tokens)
redis.call('HINCRBY', K.run, 'output_tokens', A.output_tokens)
if A.cost_nanos == '' then
    redis.call('HINCRBY', K.run, 'unpriced', 1)
else
    redis.call('HINCRBY', K.run, 'cost_nanos', A.cost_nanos)
end
return 1
