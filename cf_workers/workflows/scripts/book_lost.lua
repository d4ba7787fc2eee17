-- Adds a call to a run's totals, and to those of the day, that was paid and whose answer came too late for it.
-- KEYS: run counters daily
-- ARGV: input_tokens output_tokens cost_nanos account sums daily_ttl
-- RETURNS: 1, or 0 when there is no such run any more; day and counter count it all the same
-- REPEAT: not safe
-- USES: spent accounts
redis.call('HINCRBY', K.counters, 'lost_calls', 1)
local of = redis.call('HMGET', K.run, 'kind', 'name')
add_to_day(A.sums, of[1], of[2])
if not of[1] then return 0 end
redis.call('HINCRBY', K.run, 'lost_calls', 1)
add_to_run()
return 1
