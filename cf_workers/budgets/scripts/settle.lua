-- Replaces what was put aside for a call by what it cost.
-- KEYS: amounts leases reservation
-- ARGV: nanos
--   nanos       what it cost; empty where nobody knows, and then all of it counts as paid
-- RETURNS: names of those who waited and for whom there may be money now
-- REPEAT: safe; a second call finds nothing
-- USES: lapse
local raw = redis.call('GET', K.reservation)
local woken = {}
if raw then
    local reservation = cjson.decode(raw)
    redis.call('DEL', K.reservation)
    redis.call('ZREM', K.leases, K.reservation)
    for _, account in ipairs(reservation.accounts) do
        if redis.call('EXISTS', account.key) == 1 then
            redis.call('HINCRBY', account.key, reservation.lapsed and 'uncertain' or 'reserved',
                '-' .. reservation.nanos)
            if A.nanos == '' then
                redis.call('HINCRBY', account.key, 'uncertain', reservation.nanos)
            else
                redis.call('HINCRBY', account.key, 'spent', A.nanos)
            end
            local has = holds(account.key)
            local room = amount_in_force(account.scope, has.limit) - has.spent - has.uncertain - has.reserved
            local calls = math.floor(room / math.max(1, tonumber(reservation.nanos)))
            if calls > 0 then
                local next = redis.call('ZRANGE', account.waiting, 0, math.min(calls, 10) - 1)
                for _, waiter in ipairs(next) do
                    redis.call('ZREM', account.waiting, waiter)
                    woken[#woken + 1] = waiter
                end
            end
        end
    end
end
lapse()
return woken
