-- Renews the leases of calls in flight.
-- KEYS: flights probes
-- ARGV: permits lease ttl
-- RETURNS: those of the permits that have lapsed or were settled
-- REPEAT: safe
local clock = redis.call('TIME')
local ends = string.format('%.6f', tonumber(clock[1]) + tonumber(clock[2]) / 1000000 + tonumber(A.lease))
local gone = {}
for _, permit in ipairs(cjson.decode(A.permits)) do
    if redis.call('ZSCORE', K.flights, permit) then
        redis.call('ZADD', K.flights, 'XX', ends, permit)
        redis.call('ZADD', K.probes, 'XX', ends, permit)
    else
        gone[#gone + 1] = permit
    end
end
redis.call('EXPIRE', K.flights, A.ttl)
redis.call('EXPIRE', K.probes, A.ttl)
return gone
