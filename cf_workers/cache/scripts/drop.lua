-- Takes out an entry that turned out to be no good, unless it has been replaced since; when it had been
-- given out as an answer before its signature was found to be wrong, takes back what that had counted.
-- KEYS: entries index lru expiry state counters
-- ARGV: digest entry counter given
-- entry: as it was read; empty: there was none
-- counter: what counts it; given: empty, fresh, stale, or fresh to somebody whose misses are not counted: unseen
-- RETURNS: whether it was taken out
-- REPEAT: not safe; takes back twice
-- USES: accounts head
if A.given ~= '' then
    redis.call('HINCRBY', K.counters, 'broken_hits', 1)
    if A.given == 'stale' then redis.call('HINCRBY', K.counters, 'stale_hits', -1) end
    if A.given == 'fresh' then redis.call('HINCRBY', K.counters, 'misses', 1) end
    local _, _, _, cost = string.match(A.entry, HEAD)
    if cost == '' then
        redis.call('HINCRBY', K.counters, 'unpriced_hits', -1)
    else
        redis.call('HINCRBY', K.counters, 'saved_nanos', '-' .. cost)
    end
end
if (redis.call('HGET', K.entries, A.digest) or '') ~= A.entry then return 0 end
redis.call('HINCRBY', K.counters, A.counter, 1)
forget(A.digest)
return 1
