-- The time in ms: the caller's, or the server's own.
local function moment(given)
    if given ~= '' then return tonumber(given) end
    local clock = redis.call('TIME')
    return clock[1] * 1000 + math.floor(clock[2] / 1000)
end
