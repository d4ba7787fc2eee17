-- Moves a row that waits into a pack.
-- KEYS: row waiting pack_rows
-- ARGV: id pack custom_id ttl
-- RETURNS: 1, or 0 when the row does not wait any more
-- REPEAT: safe
local state = redis.call('HMGET', K.row, 'state', 'pack')
if state[1] ~= 'waiting' then return (state[1] == 'packed' and state[2] == A.pack) and 1 or 0 end
redis.call('HSET', K.row, 'state', 'packed', 'pack', A.pack, 'custom_id', A.custom_id)
redis.call('HINCRBY', K.row, 'sends', 1)
redis.call('ZREM', K.waiting, A.id)
redis.call('HSET', K.pack_rows, A.custom_id, A.id)
redis.call('EXPIRE', K.pack_rows, A.ttl)
return 1
