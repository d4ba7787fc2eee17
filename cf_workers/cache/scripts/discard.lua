-- Takes out an entry whose signature is wrong, unless it has been replaced since, and takes back what its
-- reading had counted.
-- KEYS: entries index lru expiry state counters
-- ARGV: digest entry verdict cost
-- RETURNS: whether it was taken out
-- REPEAT: not safe; counts twice
-- USES: accounts
redis.call('HINCRBY', K.counters, 'integrity_failures', 1)
if A.verdict == 'hit' then
    redis.call('HINCRBY', K.counters, 'hits', -1)
    redis.call('HINCRBY', K.counters, 'misses', 1)
else
    redis.call('HINCRBY', K.counters, 'stale_hits', -1)
end
if A.cost == '-' then
    redis.call('HINCRBY', K.counters, 'unpriced_hits', -1)
elseif A.cost ~= '0' then
    redis.call('HINCRBY', K.counters, 'saved_nanos', '-' .. A.cost)
end
if redis.call('HGET', K.entries, A.digest) ~= A.entry then return 0 end
forget(A.digest)
return 1
