-- Makes the caller the leader of a call or one of its followers, unless there is something better to do.
-- KEYS: flight waiters outcomes index
-- ARGV: digest holder waiter lease_ms ttl_ms now waiting_ms
-- RETURNS: {verdict, when in ms, text}; verdict is one of
--   ready      an answer is stored: look it up
--   failed     the leader's call failed for everybody; text says how
--   alone      the leader's answer cannot be shared: call for yourself
--   lead       make the call; when: end of the lease; text: 1 if the last leader was lost
--   follow     the caller is on the list; when: end of the leader's lease
-- REPEAT: safe, but an outcome is told once
local now = tonumber(A.now)
if not now then
    local clock = redis.call('TIME')
    now = clock[1] * 1000 + math.floor(clock[2] / 1000)
end
local outcome = redis.call('HGET', K.outcomes, A.waiter)
if outcome then redis.call('HDEL', K.outcomes, A.waiter) end

local record = redis.call('HGET', K.index, A.digest)
if record then
    local created, fresh = string.match(record, '^%d+ (%d+) (%d+) ')
    if now < math.min(tonumber(fresh), tonumber(created) + tonumber(A.ttl_ms)) then
        redis.call('ZREM', K.waiters, A.waiter)
        return {'ready', now, ''}
    end
end
if outcome == 'alone' then return {'alone', now, ''} end
if outcome then return {'failed', now, outcome} end

local flight = redis.call('HMGET', K.flight, 'holder', 'until')
local lost = '0'
if flight[1] and flight[1] ~= A.holder then
    if now < tonumber(flight[2]) then
        redis.call('ZADD', K.waiters, 'NX', now, A.waiter)
        redis.call('PEXPIRE', K.waiters, A.waiting_ms)
        return {'follow', tonumber(flight[2]), ''}
    end
    lost = '1'
end
local lease_end = now + tonumber(A.lease_ms)
redis.call('ZREM', K.waiters, A.waiter)
redis.call('HSET', K.flight, 'holder', A.holder, 'until', string.format('%.0f', lease_end))
redis.call('PEXPIRE', K.flight, 2 * tonumber(A.lease_ms))
return {'lead', lease_end, lost}
