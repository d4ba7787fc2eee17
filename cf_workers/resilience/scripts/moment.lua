-- Shared first part: the server's time, the policy, and hashes as tables of numbers and words.
local policy = cjson.decode(A.policy)
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function read(key)
    local flat, map = redis.call('HGETALL', key), {}
    for index = 1, #flat, 2 do map[flat[index]] = tonumber(flat[index + 1]) or flat[index + 1] end
    return map
end

-- Lua's own spelling keeps 14 digits, too few for a time with microseconds.
local function spelt(value)
    if type(value) ~= 'number' then return value end
    if value == math.floor(value) then return string.format('%.0f', value) end
    return string.format('%.6f', value)
end

local function write(key, map)
    local flat = {}
    for name, value in pairs(map) do
        flat[#flat + 1] = name
        flat[#flat + 1] = spelt(value)
    end
    redis.call('HSET', key, unpack(flat))
    redis.call('EXPIRE', key, policy.ttl)
end
