-- Ends a leader's flight and says who is to be woken.
-- KEYS: flight waiters outcomes
-- ARGV: holder outcome outcome_ms
-- outcome: empty: an answer is stored; next: only the leader failed, and the first waiter is to lead;
-- everything else is what each waiter is told
-- RETURNS: waiters to wake; none if the caller does not lead any more
-- REPEAT: not safe; the second call finds that it does not lead
if redis.call('HGET', K.flight, 'holder') ~= A.holder then return {} end
redis.call('UNLINK', K.flight)
if A.outcome == 'next' then
    local first = redis.call('ZPOPMIN', K.waiters)[1]
    return first and {first} or {}
end
local waiters = redis.call('ZRANGE', K.waiters, 0, -1)
redis.call('UNLINK', K.waiters)
if A.outcome ~= '' and #waiters > 0 then
    for _, waiter in ipairs(waiters) do redis.call('HSET', K.outcomes, waiter, A.outcome) end
    redis.call('PEXPIRE', K.outcomes, A.outcome_ms)
end
return waiters
