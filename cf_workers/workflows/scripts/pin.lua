-- Stores a definition under its digest and notes that a run uses it.
-- KEYS: definition users
-- ARGV: run text ttl
-- RETURNS: 1
-- REPEAT: safe
redis.call('SADD', K.users, A.run)
redis.call('EXPIRE', K.users, A.ttl)
if A.text == '' then
    redis.call('EXPIRE', K.definition, A.ttl)
else
    redis.call('SET', K.definition, A.text, 'EX', A.ttl)
end
return 1
