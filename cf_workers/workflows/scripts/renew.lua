-- A worker's heartbeat: renews exactly the claims it still works on, and tells the fleet that it lives.
-- KEYS: claims workers worker
-- ARGV: worker members about ttl forget_after
-- RETURNS: {now, members that are no longer claimed}
-- REPEAT: safe
local clock = redis.call('TIME')
local at = string.format('%d.%06d', clock[1], clock[2])
local gone = {}
for _, member in ipairs(cjson.decode(A.members)) do
    if redis.call('ZSCORE', K.claims, member) then
        redis.call('ZADD', K.claims, 'XX', at, member)
    else
        gone[#gone + 1] = member
    end
end
redis.call('ZADD', K.workers, at, A.worker)
redis.call('ZREMRANGEBYSCORE', K.workers, '-inf', tonumber(at) - tonumber(A.forget_after))
redis.call('SET', K.worker, A.about, 'EX', A.ttl)
return {at, #gone > 0 and cjson.encode(gone) or '[]'}
