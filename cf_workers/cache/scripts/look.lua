-- Looks an entry up, and marks it as used and counts if it is given. Changes nothing else: what it finds to be
-- over or broken is left to drop.lua, so that a hit pays for as little as possible.
-- A reader with a shorter time to live than the writer's sees less of an entry's life, and takes nothing out.
-- Wants K.entries, K.lru, K.counters, A.digest, A.ttl_ms.
-- stale_ms: empty unless stale answers are wanted; counts: empty if a miss is not to be counted
-- Returns the entry if it is fresh, nothing if there is none, otherwise the entry and one of:
--   stale      past its time to live, but wanted
--   over       its time is over, stale or not
--   broken     it has no readable head
--   leftover   there is no entry, but it is in the accounts
local function look(now, stale_ms, counts)
    local function missed(entry, verdict)
        if counts ~= '' then redis.call('HINCRBY', K.counters, 'misses', 1) end
        return entry, verdict
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
        if stale_ms == '' or now >= created + A.ttl_ms + stale_ms then return missed() end
        verdict = 'stale'
        redis.call('HINCRBY', K.counters, 'stale_hits', 1)
    end
    redis.call('ZADD', K.lru, redis.call('HINCRBY', K.counters, 'accesses', 1), A.digest)
    if cost == '' then
        redis.call('HINCRBY', K.counters, 'unpriced_hits', 1)
    else
        redis.call('HINCRBY', K.counters, 'saved_nanos', cost)
    end
    return entry, verdict
end
