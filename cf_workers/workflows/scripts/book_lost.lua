-- Adds a call to a run's totals that was paid and whose answer came too late for it.
-- KEYS: run counters
-- ARGV: input_tokens output_tokens cost_nanos
-- RETURNS: 1, or 0 when there is no such run any more; the counter of lost calls goes up all the same
-- REPEAT: not safe
redis.call('HINCRBY', K.counters, 'lost_calls', 1)
if redis.call('EXISTS', K.run) == 0 then return 0 end
redis.call('HINCRBY', K.run, 'lost_calls', 1)
redis.call('HINCRBY', K.run, 'input_tokens', A.input_tokens)
redis.call('HINCRBY', K.run, 'output_tokens', A.output_tokens)
if A.cost_nanos == '' then
    redis.call('HINCRBY', K.run, 'unpriced', 1)
else
    redis.call('HINCRBY', K.run, 'cost_nanos', A.cost_nanos)
end
return 1
