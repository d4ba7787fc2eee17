-- Acknowledges messages, and receives others for the slots that have thereby become free: no slot waits for
-- another round trip. The first queue goes before the second, that before the third.
-- KEYS: unacked index first second third
-- ARGV: tags now rooms
-- tags: of what is acknowledged; rooms: how many slots each queue may take; now: the worker's clock
-- RETURNS: {number of the queue, message as it stood there} of each; one that cannot be read stays where it is
-- REPEAT: not safe; receives others
-- USES: saving
local tags = cjson.decode(A.tags)
redis.call('ZREM', K.index, unpack(tags))
redis.call('HDEL', K.unacked, unpack(tags))

local taken = {}
local rooms = cjson.decode(A.rooms)
for number, queue in ipairs({K.first, K.second, K.third}) do
    while #taken < #tags and #taken < rooms[number] do
        local raw = receive(queue)
        if not raw then break end
        taken[#taken + 1] = {number, raw}
    end
end
return taken
