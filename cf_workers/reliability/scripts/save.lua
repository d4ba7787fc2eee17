-- Notes that a message which was received is being worked on, and receives as many more as there is room for,
-- which thereby cannot get lost in between.
-- KEYS: unacked index queue
-- ARGV: tag message now most
-- now: the worker's clock, by which kombu tells what has been abandoned; message: as kombu keeps it
-- RETURNS: the further messages, as they stood in the queue; one that cannot be read stays there
-- REPEAT: not safe; receives others
local function save(tag, message)
    redis.call('ZADD', K.index, A.now, tag)
    redis.call('HSET', K.unacked, tag, message)
end

-- Its delivery tag, and the message as kombu keeps it: with the exchange and routing key that it came by.
local function read(raw)
    local message = cjson.decode(raw)
    local properties = message.properties
    local from = properties.delivery_info
    local kept = {raw, cjson.encode(from.exchange), cjson.encode(from.routing_key)}
    return properties.delivery_tag, '[' .. table.concat(kept, ',') .. ']'
end

save(A.tag, A.message)
local taken = {}
for _ = 1, tonumber(A.most) do
    local raw = redis.call('LINDEX', K.queue, -1)
    if not raw then break end
    local readable, tag, message = pcall(read, raw)
    if not readable or type(tag) ~= 'string' then break end
    redis.call('RPOP', K.queue)
    save(tag, message)
    taken[#taken + 1] = raw
end
return taken
