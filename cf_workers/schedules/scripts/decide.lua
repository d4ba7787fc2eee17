-- Settles what becomes of a tick. The first beat to ask decides for all: another one is told the same.
-- What needs nothing but this record (missed, skip, queue) is done at once; what starts a run is only noted
-- here, and done when the run has been recorded (settle.lua). One that could not be started for so long that it
-- counts as missed is given up.
-- KEYS: standing waiting
-- ARGV: planned choice longest ttl
-- RETURNS: {choice, run to be cancelled}; choice is 'done' when the tick was settled before
-- REPEAT: safe
local planned = tonumber(A.planned)
local last = tonumber(redis.call('HGET', K.standing, 'last') or '0')
if planned <= last then return {'done', ''} end
local noted = redis.call('HMGET', K.standing, 'deciding', 'choice', 'previous')
if noted[1] and tonumber(noted[1]) == planned and A.choice ~= 'missed' then return {noted[2], noted[3] or ''} end
local choice, previous = A.choice, ''
if choice == 'queue' and redis.call('ZCARD', K.waiting) >= tonumber(A.longest) then choice = 'skip' end
if choice == 'cancel' then previous = redis.call('HGET', K.standing, 'run') or '' end
if choice == 'start' or choice == 'cancel' then
    redis.call('HSET', K.standing, 'deciding', A.planned, 'choice', choice, 'previous', previous)
else
    redis.call('HSET', K.standing, 'last', A.planned)
    redis.call('HDEL', K.standing, 'deciding', 'choice', 'previous')
    if choice == 'queue' then
        redis.call('ZADD', K.waiting, planned, A.planned)
        redis.call('EXPIRE', K.waiting, A.ttl)
    else
        redis.call('HINCRBY', K.standing, choice == 'missed' and 'missed' or 'skipped', 1)
    end
end
redis.call('EXPIRE', K.standing, A.ttl)
return {choice, previous}
