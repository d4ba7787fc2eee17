-- Shared: adds what was executed and spent to the sums of the day, under workflow, agent and model.
local function add_to_day(sums, kind, name)
    if A.account == '' then return end
    local prefix = (kind == 'workflow' and name or '') .. '\t' .. A.account .. '\t'
    for measure, number in pairs(cjson.decode(sums)) do redis.call('HINCRBY', K.daily, prefix .. measure, number) end
    if redis.call('TTL', K.daily) == -1 then redis.call('EXPIRE', K.daily, A.daily_ttl) end
end
