-- Gives the answer to a call, or makes the caller its leader or one of its followers.
-- KEYS: entries lru counters flight waiters outcomes
-- ARGV: digest holder waiter lease_ms ttl_ms now waiting_ms
-- RETURNS: {verdict, when in ms, text, now in ms, entry, what is wrong with it}; verdict is one of
--   hit        here it is; nothing is wrong with it
--   failed     the leader's call failed for everybody; text says how
--   alone      the leader's answer cannot be shared: call for yourself
--   lead       make the call; when: end of the lease; text: 1 if the last leader was lost
--   follow     the caller is on the list; when: end of the leader's lease
-- REPEAT: safe, but an outcome is told once, and a hit counts twice
-- USES: moment head look
local now = moment(A.now)
local entry, wrong = look(now, '', '')
local outcome = redis.call('HGET', K.outcomes, A.waiter)
if outcome then redis.call('HDEL', K.outcomes, A.waiter) end
local function told(verdict, when, text) return {verdict, when, text, now, entry, wrong} end

if entry and not wrong then
    redis.call('ZREM', K.waiters, A.waiter)
    return told('hit', now, '')
end
if outcome == 'alone' then return told('alone', now, '') end
if outcome then return told('failed', now, outcome) end

local flight = redis.call('HMGET', K.flight, 'holder', 'until')
local lost = '0'
if flight[1] and flight[1] ~= A.holder then
    if now < tonumber(flight[2]) then
        redis.call('ZADD', K.waiters, 'NX', now, A.waiter)
        redis.call('PEXPIRE', K.waiters, A.waiting_ms)
        return told('follow', tonumber(flight[2]), '')
    end
    lost = '1'
end
local lease_end = now + tonumber(A.lease_ms)
redis.call('ZREM', K.waiters, A.waiter)
redis.call('HSET', K.flight, 'holder', A.holder, 'until', string.format('%.0f', lease_end))
redis.call('PEXPIRE', K.flight, 2 * tonumber(A.lease_ms))
return told('lead', lease_end, lost)
