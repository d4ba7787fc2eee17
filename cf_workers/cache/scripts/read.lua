-- Looks an entry up, marks it as used and counts. Changes nothing else: what it finds to be over or broken
-- is left to drop.lua, so that a hit pays for as little as possible.
-- A reader with a shorter time to live than the writer's sees less of an entry's life, and takes nothing out.
-- KEYS: entries lru counters
-- ARGV: digest ttl_ms stale_ms now counts
-- stale_ms: empty unless stale answers are wanted; counts: empty if a miss is not to be counted
-- RETURNS: {now in ms, entry} if it is fresh, {now} if there is none, otherwise {now, entry, verdict}:
--   stale      past its time to live, but wanted
--   over       its time is over, stale or not
--   broken     it has no readable head
--   leftover   there is no entry, but it is in the accounts
-- REPEAT: safe, but counts twice
-- USES: head
local now = A.now
if now == '' then
    local clock = redis.call('TIME')
    now = clock[1] * 1000 + math.floor(clock[2] / 1000)
else
    now = tonumber(now)
end
local function missed(entry, verdict)
    if A.counts ~= '' then redis.call('HINCRBY', K.counters, 'misses', 1) end
    return {now, entry, verdict}
end

local entry = redis.call('HGET', K.entries, A.digest)
if not entry then
    if redis.call('ZSCORE', K.lru, A.digest) then return missed('', 'leftover') end
    return missed()
end
local created, fresh, keep, cost = string.match(entry, HEAD)
if not created or #cost > 15 then return missed(entry, 'broken') end
if now >= tonumber(keep) then return missed(entry, 'over') end

local verdict
if now >= tonumber(fresh) or now >= created + A.ttl_ms then
    if A.stale_ms == '' or now >= created + A.ttl_ms + A.stale_ms then return missed() end
    verdict = 'stale'
    redis.call('HINCRBY', K.counters, 'stale_hits', 1)
end
redis.call('ZADD', K.lru, redis.call('HINCRBY', K.counters, 'accesses', 1), A.digest)
if cost == '' then
    redis.call('HINCRBY', K.counters, 'unpriced_hits', 1)
else
    redis.call('HINCRBY', K.counters, 'saved_nanos', cost)
end
return {now, entry, verdict}
