-- Takes a pack from one state to the next.
-- KEYS: pack packs known
-- ARGV: id before after fields look_at batch ttl by
-- before: states, separated by spaces; by: the token of the submission, where that must still be the last one
-- RETURNS: 1, or 0 when the pack is in none of these states or another's
-- REPEAT: safe in effect; where no token is given, the second call says 0
local row = redis.call('HMGET', K.pack, 'state', 'token')
if not row[1] then return 0 end
local fields = cjson.decode(A.fields)
local allowed = row[1] == A.after and fields.token ~= nil and fields.token == row[2]
for state in string.gmatch(A.before, '%S+') do allowed = allowed or row[1] == state end
if not allowed or (A.by ~= '' and row[2] ~= A.by) then return 0 end
redis.call('HSET', K.pack, 'state', A.after)
for name, value in pairs(fields) do redis.call('HSET', K.pack, name, value) end
redis.call('ZADD', K.packs, A.look_at, A.id)
if A.batch ~= '' then
    redis.call('HSET', K.pack, 'batch', A.batch)
    local clock = redis.call('TIME')
    redis.call('ZADD', K.known, clock[1], A.batch)
    redis.call('ZREMRANGEBYSCORE', K.known, '-inf', clock[1] - tonumber(A.ttl))
end
return 1
