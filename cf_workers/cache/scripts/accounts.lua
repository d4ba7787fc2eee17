-- What all scripts that take entries out share. An index record reads "SIZE CREATED FRESH KEEP TAGS", times in ms.

-- Takes an entry out of the store and out of the accounts; whether it was in the accounts.
local function forget(digest)
    local known = redis.call('HGET', K.index, digest)
    redis.call('HDEL', K.entries, digest)
    if not known then return false end
    redis.call('HDEL', K.index, digest)
    redis.call('ZREM', K.lru, digest)
    redis.call('ZREM', K.expiry, digest)
    redis.call('HINCRBY', K.state, 'bytes', '-' .. string.match(known, '^%d+'))
    return true
end

-- Takes out at most so many entries whose time is over; how many there were.
local function sweep(now, most)
    local over = redis.call('ZRANGEBYSCORE', K.expiry, '-inf', now, 'LIMIT', 0, most)
    for _, digest in ipairs(over) do forget(digest) end
    if #over > 0 then redis.call('HINCRBY', K.counters, 'expired', #over) end
    return #over
end
