-- Looks an entry up, marks it as used and counts; accounts it out when its time is over or it cannot be read.
-- A reader with a shorter time to live than the writer's sees less of an entry's life, and takes nothing out.
-- KEYS: entries index lru expiry state counters
-- ARGV: digest now ttl_ms stale_ms allow_stale
-- RETURNS: {'hit' or 'stale', now in ms, cost as counted, entry}, or {'miss', now}
-- REPEAT: safe, but counts twice
-- USES: accounts
local now = tonumber(A.now)
if not now then
    local clock = redis.call('TIME')
    now = clock[1] * 1000 + math.floor(clock[2] / 1000)
end
local function miss()
    -- Who asks for stale answers has been counted as a miss already.
    if A.allow_stale == '0' then redis.call('HINCRBY', K.counters, 'misses', 1) end
    return {'miss', now}
end

local entry = redis.call('HGET', K.entries, A.digest)
if not entry then
    forget(A.digest)
    return miss()
end
local created, fresh, keep, cost = string.match(entry, '^1 (%d+) (%d+) (%d+) ([%d-]+) ')
if not created or #cost > 15 or not (cost == '-' or string.match(cost, '^%d+$')) then
    forget(A.digest)
    redis.call('HINCRBY', K.counters, 'integrity_failures', 1)
    return miss()
end
if now >= tonumber(keep) then
    forget(A.digest)
    redis.call('HINCRBY', K.counters, 'expired', 1)
    return miss()
end

local ttl_end = tonumber(created) + tonumber(A.ttl_ms)
local verdict, counter = 'hit', 'hits'
if now >= math.min(tonumber(fresh), ttl_end) then
    if A.allow_stale == '0' or now >= ttl_end + tonumber(A.stale_ms) then return miss() end
    verdict, counter = 'stale', 'stale_hits'
end
redis.call('ZADD', K.lru, redis.call('HINCRBY', K.state, 'accesses', 1), A.digest)
redis.call('HINCRBY', K.counters, counter, 1)
if cost == '-' then
    redis.call('HINCRBY', K.counters, 'unpriced_hits', 1)
elseif cost ~= '0' then
    redis.call('HINCRBY', K.counters, 'saved_nanos', cost)
end
return {verdict, now, cost, entry}
