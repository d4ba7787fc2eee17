-- Notes the run that a tick started: one that was due now, or the one that has waited longest.
-- KEYS: standing waiting
-- ARGV: planned run waited ttl
-- RETURNS: 1, or 0 when another beat has noted it before
-- REPEAT: safe
if A.waited == '1' then
    if redis.call('ZREM', K.waiting, A.planned) == 0 then return 0 end
else
    if tonumber(A.planned) <= tonumber(redis.call('HGET', K.standing, 'last') or '0') then return 0 end
    redis.call('HSET', K.standing, 'last', A.planned)
    redis.call('HDEL', K.standing, 'deciding', 'choice', 'previous')
end
redis.call('HSET', K.standing, 'run', A.run, 'planned', A.planned)
redis.call('EXPIRE', K.standing, A.ttl)
return 1
