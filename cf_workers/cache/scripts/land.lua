-- Ends a leader's flight without an answer to share.
-- KEYS: flight waiters outcomes counters
-- ARGV: holder outcome outcome_ms called
-- outcome: see landing.lua; called: whether the call was made, which then is a miss
-- RETURNS: waiters to wake; none if the caller does not lead any more
-- REPEAT: not safe; the second call finds that it does not lead, and counts again
-- USES: landing
if A.called == '1' then redis.call('HINCRBY', K.counters, 'misses', 1) end
return land(A.outcome)
