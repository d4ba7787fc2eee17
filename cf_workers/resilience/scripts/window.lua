-- Window: how many calls may be in flight, found by additive increase and multiplicative decrease; and the
-- flights themselves, as leases that end with their holder.
local Window = {}

function Window.load()
    Window.is = read(K.window)
    Window.is.epoch = Window.is.epoch or 0
    local cap = policy.window.cap
    local size = Window.is.size or cap or math.huge
    Window.is.size = cap and math.min(size, cap) or size
    Window.in_flight = redis.call('ZCARD', K.flights)
end

-- Before the first call has ended: long, since whoever waits too long is brought forward, and who comes too
-- early comes in vain.
function Window.duration() return Window.is.duration or 10 end

-- Forgets the flights whose holder has not renewed them.
function Window.drop_expired()
    local expired = redis.call('ZRANGEBYSCORE', K.flights, '-inf', spelt(now), 'LIMIT', 0, 1000)
    if #expired == 0 then return end
    redis.call('ZREM', K.flights, unpack(expired))
    redis.call('HDEL', K.permits, unpack(expired))
    write(K.window, {lost = (Window.is.lost or 0) + #expired})
    Window.in_flight = Window.in_flight - #expired
end

local function slots(lane)
    local size = math.max(1, math.floor(Window.is.size))
    return lane == 'interactive' and size or size - math.floor(size * policy.line.reserve)
end

-- Whether one more call may fly; some slots are kept for interactive ones.
function Window.has_room(lane)
    return Window.is.size == math.huge or Window.in_flight < slots(lane)
end

-- How many slots are free, or will be by the time that somebody who is called for them has come.
function Window.room(lane)
    if Window.is.size == math.huge then return math.huge end
    local ending = Window.in_flight * math.min(1, policy.line.ahead / Window.duration())
    return slots(lane) - Window.in_flight + math.floor(ending)
end

function Window.scarce()
    return Window.in_flight + 1 > Window.is.size / 2
end

function Window.spacing()
    if Window.is.size == math.huge then return nil end
    return Window.duration() / math.max(1, math.floor(Window.is.size))
end

function Window.take_off(permit, lease, record)
    Window.in_flight = Window.in_flight + 1
    record.n, record.e, record.t = Window.in_flight, Window.is.epoch, now
    redis.call('ZADD', K.flights, spelt(now + lease), permit)
    redis.call('HSET', K.permits, permit, cjson.encode(record))
    redis.call('EXPIRE', K.flights, policy.ttl)
    redis.call('EXPIRE', K.permits, policy.ttl)
end

-- What was reserved for a permit, once; false when it is settled or its lease has run out.
function Window.land(permit)
    local record = redis.call('HGET', K.permits, permit)
    if not record then return false end
    redis.call('HDEL', K.permits, permit)
    redis.call('ZREM', K.flights, permit)
    Window.in_flight = Window.in_flight - 1
    return cjson.decode(record)
end

-- Halves the window, at most once for all calls that were admitted before the last time; one that was without
-- bounds begins with half of what was in flight.
-- Recovery is fast up to half of the window that was too large, unless the provider objects to fast growth.
function Window.cut(record, ramp)
    local is = Window.is
    if record.e ~= is.epoch then return end
    local least = math.min(policy.window.least, policy.window.cap or math.huge)
    local used = is.size == math.huge and math.max(record.n, Window.in_flight + 1) or is.size
    local size = math.max(least, used / 2)
    local threshold = (is.grown == 0 and is.threshold) or size
    if ramp then threshold = math.min(threshold, size) end
    is.size, is.threshold, is.epoch, is.grown = size, threshold, is.epoch + 1, 0
    write(K.window, {size = size, threshold = threshold, epoch = is.epoch, grown = 0, cut_at = now})
end

-- Grows by one a call up to the threshold, then by one a window; only while the window is what limits.
function Window.grow(record)
    local is, fields = Window.is, {}
    fields.duration = is.duration and is.duration + (now - record.t - is.duration) * 0.2 or now - record.t
    is.duration = fields.duration
    if is.size ~= math.huge and record.e == is.epoch and record.n >= is.size / 2 then
        local step = is.size < (is.threshold or 0) and 1 or 1 / is.size
        is.size = math.min(is.size + step, policy.window.cap or math.huge)
        fields.size, fields.grown = is.size, 1
    end
    write(K.window, fields)
end
