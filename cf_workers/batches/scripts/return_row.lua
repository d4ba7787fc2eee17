-- Gives a row that waits, and fits into no batch, back to the ordinary API.
-- KEYS: row marks open waiting
-- ARGV: id ttl
-- RETURNS: 1, or 0 when the row does not wait
-- REPEAT: safe
local state = redis.call('HGET', K.row, 'state')
if state == 'returned' then return 1 end
redis.call('ZREM', K.waiting, A.id)
if state ~= 'waiting' then return 0 end
redis.call('HSET', K.row, 'state', 'returned')
if redis.call('GET', K.open) == A.id then redis.call('DEL', K.open) end
redis.call('EXPIRE', K.row, A.ttl)
redis.call('EXPIRE', K.marks, A.ttl)
return 1
