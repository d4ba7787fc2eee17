-- Takes out the entries of one batch that fit all that is given.
-- KEYS: entries index lru expiry state counters
-- ARGV: cursor batch tags created_before
-- RETURNS: {cursor of the next batch, how many were taken out}
-- REPEAT: safe
-- USES: accounts
local wanted = cjson.decode(A.tags)
local before = tonumber(A.created_before)
local function fits(record)
    local created, tags = string.match(record, '^%d+ (%d+) %d+ %d+ (.*)$')
    if before and tonumber(created) >= before then return false end
    local readable, own = pcall(cjson.decode, tags)
    for name, value in pairs(wanted) do
        if not readable or own[name] ~= value then return false end
    end
    return true
end

-- Of the smaller of the collections with the same members: no entry is read.
local found = redis.call('ZSCAN', K.lru, A.cursor, 'COUNT', A.batch)
local removed = 0
for at = 1, #found[2], 2 do
    local digest = found[2][at]
    local record = redis.call('HGET', K.index, digest)
    if record and fits(record) and forget(digest) then removed = removed + 1 end
end
return {found[1], removed}
