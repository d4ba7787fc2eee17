-- Notes that a message is being worked on; `message` is as kombu keeps it.
local function save(tag, message)
    redis.call('ZADD', K.index, A.now, tag)
    redis.call('HSET', K.unacked, tag, message)
end

-- The oldest message of a queue, noted; nothing if there is none, or one that cannot be read.
local function receive(queue)
    local raw = redis.call('LINDEX', queue, -1)
    if not raw then return nil end
    local readable, tag, message = pcall(function()
        local properties = cjson.decode(raw).properties
        local from = properties.delivery_info
        local kept = {raw, cjson.encode(from.exchange), cjson.encode(from.routing_key)}
        return properties.delivery_tag, '[' .. table.concat(kept, ',') .. ']'
    end)
    if not readable or type(tag) ~= 'string' then return nil end
    redis.call('RPOP', queue)
    save(tag, message)
    return raw
end
