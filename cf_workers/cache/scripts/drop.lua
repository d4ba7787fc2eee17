-- Takes out an entry that turned out to be no good, unless it has been replaced since; when it had been
-- given out as an answer before its signature was found to be wrong, takes back what that had counted.
-- KEYS: entries index lru expiry state counters
-- ARGV: digest entry counter given
-- entry: as it was read; empty: there was none
-- counter: what counts it; given: empty, fresh or stale
-- RETURNS: whether it was taken out
-- REPEAT: not safe; takes back twice
-- USES: accounts head
if A.given ~= '' then
    redis.call('HINCRBY', K.counters, 'broken_hits', 1)
    redis.call('HINCRBY', K.counters, A.given == 'stale' and 'stale_hits' or 'misses', A.given == 'stale' and -1 or 1)
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
