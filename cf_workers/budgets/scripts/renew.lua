-- Keeps reservations of calls that are still under way.
-- KEYS: leases
-- ARGV: reservations lease
-- RETURNS: the number renewed
-- REPEAT: safe
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local renewed = 0
for _, key in ipairs(cjson.decode(A.reservations)) do
    if redis.call('ZSCORE', K.leases, key) then
        redis.call('ZADD', K.leases, 'GT', now + tonumber(A.lease), key)
        renewed = renewed + 1
    end
end
return renewed
