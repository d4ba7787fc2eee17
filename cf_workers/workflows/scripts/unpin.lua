-- Notes that a run has ended; a definition without active users lives for one more retention.
-- KEYS: definition users
-- ARGV: run retention
-- RETURNS: the number of runs that still use it
-- REPEAT: safe
redis.call('SREM', K.users, A.run)
local left = redis.call('SCARD', K.users)
if left == 0 then redis.call('EXPIRE', K.definition, A.retention) end
return left
