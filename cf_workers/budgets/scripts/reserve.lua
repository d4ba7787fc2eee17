-- Puts money aside for one call in all budgets that apply to it, or in none.
-- KEYS: amounts leases reservation used
-- ARGV: accounts nanos lease keep waiter
--   accounts    JSON list of {scope, account, key, waiting, limit, ttl}; amounts are strings of digits
--   waiter      waits for money where there is none; may be empty
-- RETURNS: {1}, or {0, index of the account that is short from 1, its amount, its spent, its reserved, for good}
-- REPEAT: safe; a second call finds the reservation
-- USES: lapse
lapse()
if redis.call('EXISTS', K.reservation) == 1 then return {1} end
local accounts, nanos = cjson.decode(A.accounts), tonumber(A.nanos)
local short
for index, account in ipairs(accounts) do
    local limit, has = amount_in_force(account.scope, account.limit), holds(account.key)
    local gone = has.spent + has.uncertain
    if gone + has.reserved + nanos > limit then
        local for_good = gone + nanos > limit
        if not short or (for_good and not short.for_good) then
            short = {index = index, limit = limit, gone = gone, reserved = has.reserved, for_good = for_good}
        end
    end
    account.limit = string.format('%.0f', limit)
end
if short then
    if A.waiter ~= '' then
        local waiting = accounts[short.index].waiting
        redis.call('ZADD', waiting, now, A.waiter)
        redis.call('EXPIRE', waiting, 86400)
    end
    return {0, short.index, string.format('%.0f', short.limit), string.format('%.0f', short.gone),
        string.format('%.0f', short.reserved), short.for_good and 1 or 0}
end
local held = {}
for index, account in ipairs(accounts) do
    redis.call('HINCRBY', account.key, 'reserved', A.nanos)
    redis.call('HSET', account.key, 'limit', account.limit)
    redis.call('EXPIRE', account.key, account.ttl)
    redis.call('ZADD', K.used, now, account.account)
    if A.waiter ~= '' then redis.call('ZREM', account.waiting, A.waiter) end
    held[index] = {key = account.key, waiting = account.waiting, scope = account.scope}
end
redis.call('ZREMRANGEBYSCORE', K.used, '-inf', now - 3456000)
redis.call('SET', K.reservation, cjson.encode({nanos = A.nanos, accounts = held}), 'EX', A.keep)
redis.call('ZADD', K.leases, now + tonumber(A.lease), K.reservation)
return {1}
