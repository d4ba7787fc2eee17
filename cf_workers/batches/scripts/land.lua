-- Notes what became of a row that was sent.
-- KEYS: row marks open waiting landed
-- ARGV: id custom_id state outcome ttl
-- state: landed (outcome says how), returned (it is to be asked through the ordinary API), waiting (it is sent
-- again)
-- RETURNS: 1 when this sending of the row has come to that state, now or before; 0 when it had come to another
-- REPEAT: safe
local row = redis.call('HMGET', K.row, 'state', 'custom_id')
if row[2] ~= A.custom_id then return 0 end
if row[1] ~= 'packed' then return row[1] == A.state and 1 or 0 end
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])
redis.call('HSET', K.row, 'state', A.state, 'outcome', A.outcome, 'landed_at', now)
if A.state == 'waiting' then
    redis.call('HDEL', K.row, 'custom_id', 'pack')
    redis.call('ZADD', K.waiting, redis.call('HGET', K.row, 'since'), A.id)
    return 1
end
if redis.call('GET', K.open) == A.id then redis.call('DEL', K.open) end
redis.call('EXPIRE', K.row, A.ttl)
redis.call('EXPIRE', K.marks, A.ttl)
if A.state == 'landed' then redis.call('ZADD', K.landed, now, A.id) end
return 1
