-- Takes a pack from one state to the next.
-- KEYS: pack packs known
-- ARGV: id before after fields look_at batch ttl token
-- before: states, separated by spaces; token: who submits it, where that must be still the same
-- RETURNS: 1, or 0 when the pack is in none of these states or another's
-- REPEAT: safe
local row = redis.call('HMGET', K.pack, 'state', 'token')
if not row[1] then return 0 end
local allowed = row[1] == A.after
for state in string.gmatch(A.before, '%S+') do allowed = allowed or row[1] == state end
if not allowed or (A.token ~= '' and row[2] ~= A.token) then return 0 end
redis.call('HSET', K.pack, 'state', A.after)
for name, value in pairs(cjson.decode(A.fields)) do redis.call('HSET', K.pack, name, value) end
redis.call('ZADD', K.packs, A.look_at, A.id)
if A.batch ~= '' then
    redis.call('HSET', K.pack, 'batch', A.batch)
    local clock = redis.call('TIME')
    redis.call('ZADD', K.known, clock[1], A.batch)
    redis.call('ZREMRANGEBYSCORE', K.known, '-inf', clock[1] - tonumber(A.ttl))
end
return 1
