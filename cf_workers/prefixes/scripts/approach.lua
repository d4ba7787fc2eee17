-- Says how a call stands to the prefix of its prompt: it may read it, goes first, or waits for who does.
-- KEYS: prefix waiters
-- ARGV: holder waiter lease_ms
-- waiter: empty for a caller who will not be woken, and looks for itself
-- RETURNS: {verdict, when in ms}; verdict is one of
--   warm    the provider has it, for as long as that
--   cold    the provider does not keep it: there is nothing to wait for, for as long as that
--   first   write it; when: until then the others wait
--   wait    another call writes it, until then at the latest; the waiter is on the list
-- REPEAT: safe
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local state = redis.call('HMGET', K.prefix, 'state', 'until', 'holder')
local ends = tonumber(state[2] or '0')
if state[1] and now < ends then
    if state[1] ~= 'writing' then return {state[1], ends} end
    if state[3] ~= A.holder then
        if A.waiter ~= '' then
            redis.call('ZADD', K.waiters, 'NX', now, A.waiter)
            redis.call('PEXPIRE', K.waiters, 86400000)
        end
        return {'wait', ends}
    end
end
ends = now + tonumber(A.lease_ms)
if A.waiter ~= '' then redis.call('ZREM', K.waiters, A.waiter) end
redis.call('HSET', K.prefix, 'state', 'writing', 'until', string.format('%.0f', ends), 'holder', A.holder)
redis.call('PEXPIRE', K.prefix, 2 * tonumber(A.lease_ms))
return {'first', ends}
