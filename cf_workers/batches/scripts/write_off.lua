-- Notes that a row was paid and nobody wants its answer: whoever comes later does not pay for it.
-- KEYS: row landed
-- ARGV: id
-- RETURNS: 1 when it was nobody's before
-- REPEAT: safe; only the first call says 1
redis.call('ZREM', K.landed, A.id)
if redis.call('EXISTS', K.row) == 0 then return 0 end
return redis.call('HSETNX', K.row, 'payer', '-')
