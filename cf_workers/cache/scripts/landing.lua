-- Ends a leader's flight and says who is to be woken; nobody if the caller does not lead any more.
-- Wants K.flight, K.waiters, K.outcomes, A.holder, A.outcome_ms.
-- outcome: empty: an answer is stored; next: only the leader failed, and the first waiter is to lead;
-- everything else is what each waiter is told
local function land(outcome)
    if redis.call('HGET', K.flight, 'holder') ~= A.holder then return {} end
    redis.call('UNLINK', K.flight)
    if outcome == 'next' then
        local first = redis.call('ZPOPMIN', K.waiters)[1]
        return first and {first} or {}
    end
    local waiters = redis.call('ZRANGE', K.waiters, 0, -1)
    redis.call('UNLINK', K.waiters)
    if outcome ~= '' and #waiters > 0 then
        for _, waiter in ipairs(waiters) do redis.call('HSET', K.outcomes, waiter, outcome) end
        redis.call('PEXPIRE', K.outcomes, A.outcome_ms)
    end
    return waiters
end
