-- Takes a row out of a pack that has not been submitted, and forgets it: nobody wants it any more.
-- KEYS: row marks open pack_rows
-- ARGV: id custom_id
-- RETURNS: 1
-- REPEAT: safe
if redis.call('HGET', K.row, 'custom_id') == A.custom_id then
    redis.call('DEL', K.row, K.marks)
    if redis.call('GET', K.open) == A.id then redis.call('DEL', K.open) end
end
redis.call('HDEL', K.pack_rows, A.custom_id)
return 1
