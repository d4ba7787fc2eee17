-- Takes a step off its row, for good; a row that nobody waits for and that is in no batch is forgotten.
-- KEYS: mark open row marks waiting
-- ARGV: id mark ttl
-- RETURNS: 1, or 0 when the row has landed or the step does not wait for it
-- REPEAT: safe
if redis.call('GET', K.mark) ~= A.id then return 0 end
local state = redis.call('HGET', K.row, 'state')
if state == 'landed' or state == 'returned' then return 0 end
redis.call('SET', K.mark, '-', 'EX', A.ttl)
redis.call('SREM', K.marks, A.mark)
if state == 'waiting' and redis.call('SCARD', K.marks) == 0 then
    redis.call('ZREM', K.waiting, A.id)
    redis.call('DEL', K.row, K.marks)
    if redis.call('GET', K.open) == A.id then redis.call('DEL', K.open) end
end
return 1
