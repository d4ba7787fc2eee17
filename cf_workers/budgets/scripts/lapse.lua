-- Shared: time, what an account holds, and reservations that nobody renews any more. Keys of accounts come with
-- the arguments and within reservations: which budgets apply differs from call to call.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function holds(key)
    local found = redis.call('HMGET', key, 'spent', 'reserved', 'uncertain', 'limit')
    return {spent = tonumber(found[1] or '0'), reserved = tonumber(found[2] or '0'),
        uncertain = tonumber(found[3] or '0'), limit = tonumber(found[4] or '0')}
end

local function amount_in_force(scope, declared)
    local set = redis.call('HGET', K.amounts, scope)
    return set and tonumber(cjson.decode(set).nanos) or tonumber(declared)
end

-- What became of such a call nobody knows: it counts as paid in full until somebody settles it after all.
local function lapse()
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', K.leases, '-inf', now, 'LIMIT', 0, 100)) do
        redis.call('ZREM', K.leases, key)
        local raw = redis.call('GET', key)
        local reservation = raw and cjson.decode(raw)
        if reservation and not reservation.lapsed then
            for _, account in ipairs(reservation.accounts) do
                if redis.call('EXISTS', account.key) == 1 then
                    redis.call('HINCRBY', account.key, 'reserved', '-' .. reservation.nanos)
                    redis.call('HINCRBY', account.key, 'uncertain', reservation.nanos)
                end
            end
            reservation.lapsed = true
            redis.call('SET', key, cjson.encode(reservation), 'KEEPTTL')
        end
    end
end
