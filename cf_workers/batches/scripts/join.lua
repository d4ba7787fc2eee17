-- Lets a step wait for a row: the one it waits for already, one of an equal call that has not landed, or a new one.
-- KEYS: mark open row marks waiting landed
-- ARGV: id mark key model size prefix rescue_at ttl join
-- RETURNS: {verdict, text, fields of the row…}; verdict is one of
--   again     another row stands there: its id is the text; empty: try with a new one
--   alone     the step has left its row and goes by itself
--   absent    it has no row, and joining was not wanted
--   row       its row; the fields follow, and the text is 1 if the step is the one that pays
-- REPEAT: safe
local mine = redis.call('GET', K.mark)
if mine == '-' then return {'alone', ''} end
local there = redis.call('EXISTS', K.row) == 1
if mine then
    if mine ~= A.id then return {'again', mine} end
    if not there then
        redis.call('DEL', K.mark)
        return {'again', ''}
    end
elseif A.join ~= '1' then
    return {'absent', ''}
else
    local open = redis.call('GET', K.open)
    if open and open ~= A.id then return {'again', open} end
    if open and not there then
        redis.call('DEL', K.open)
        return {'again', ''}
    end
    if not open and there then return {'again', ''} end
    local clock = redis.call('TIME')
    local now = string.format('%d.%06d', clock[1], clock[2])
    if not there then
        redis.call('HSET', K.row, 'key', A.key, 'model', A.model, 'size', A.size, 'prefix', A.prefix,
            'state', 'waiting', 'since', now, 'rescue_at', A.rescue_at, 'sends', 0, 'source', A.mark)
        redis.call('EXPIRE', K.row, A.ttl)
        redis.call('SET', K.open, A.id, 'EX', A.ttl)
        redis.call('ZADD', K.waiting, now, A.id)
    elseif A.rescue_at ~= '' and redis.call('HGET', K.row, 'state') == 'waiting' then
        local before = tonumber(redis.call('HGET', K.row, 'rescue_at'))
        if not before or tonumber(A.rescue_at) < before then
            redis.call('HSET', K.row, 'rescue_at', A.rescue_at)
        end
    end
    redis.call('SADD', K.marks, A.mark)
    redis.call('EXPIRE', K.marks, A.ttl)
    redis.call('SET', K.mark, A.id, 'EX', A.ttl)
end
local row = redis.call('HMGET', K.row, 'state', 'payer', 'outcome')
local pays = ''
if row[1] == 'landed' then
    if not row[2] then
        redis.call('HSET', K.row, 'payer', A.mark)
        redis.call('ZREM', K.landed, A.id)
        row[2] = A.mark
    end
    if row[2] == A.mark then pays = '1' end
end
return {'row', pays, redis.call('HGETALL', K.row)}
