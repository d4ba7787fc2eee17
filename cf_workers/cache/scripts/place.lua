-- Stores an entry: accounts out what is over, then the entry's predecessor, then the least recently used
-- until it fits. The total is never above the limit. An entry above the limit is refused and changes nothing.
-- Wants the keys of a shard and A.digest, entry, limit, created, fresh, keep, tags, now, sweep, linger_ms, failures.
-- Returns whether it was stored, and how many were evicted for it.
local function place()
    local now = tonumber(A.now)
    local size = #A.entry
    if A.failures ~= '0' then redis.call('HINCRBY', K.counters, 'failures', A.failures) end
    sweep(now, A.sweep)
    if size > tonumber(A.limit) then
        redis.call('HINCRBY', K.counters, 'refused', 1)
        return 0, 0
    end

    forget(A.digest)
    local evicted = 0
    local bytes = tonumber(redis.call('HGET', K.state, 'bytes') or '0')
    while bytes + size > tonumber(A.limit) do
        local oldest = redis.call('ZRANGE', K.lru, 0, 0)[1]
        if not oldest then
            redis.call('HSET', K.state, 'bytes', 0)
            break
        end
        if not forget(oldest) then redis.call('ZREM', K.lru, oldest) end
        evicted = evicted + 1
        bytes = tonumber(redis.call('HGET', K.state, 'bytes'))
    end
    if evicted > 0 then redis.call('HINCRBY', K.counters, 'evictions', evicted) end

    redis.call('HSET', K.entries, A.digest, A.entry)
    redis.call('HSET', K.index, A.digest, table.concat({size, A.created, A.fresh, A.keep, A.tags}, ' '))
    redis.call('ZADD', K.lru, redis.call('HINCRBY', K.counters, 'accesses', 1), A.digest)
    redis.call('ZADD', K.expiry, A.keep, A.digest)
    redis.call('HINCRBY', K.state, 'bytes', size)
    redis.call('HINCRBY', K.counters, 'stores', 1)
    -- All of a shard goes at once, or accounts and entries would part.
    local linger = string.format('%.0f', math.max(redis.call('PTTL', K.state), tonumber(A.linger_ms)))
    for _, key in ipairs({K.entries, K.index, K.lru, K.expiry, K.state}) do redis.call('PEXPIRE', key, linger) end
    return 1, evicted
end
