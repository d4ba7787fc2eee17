-- Brings turns forward for as many calls as can be made now. Turns are handed out in advance, at the pace and by
-- the shares of that moment; a rival who has left, a call that ended or a breaker that has closed make room before.
-- KEYS: spend breaker gate buckets window flights permits probes line waiters waiting
-- ARGV: policy
-- RETURNS: JSON {now, waiters}; lane, tenant and waiter of those whose turn it is now, with tabs between
-- REPEAT: safe; who was brought forward is on the way and takes up room until its grace is over
-- USES: moment gate breaker buckets window line
local AT_ONCE = 1000
Gate.load()
Breaker.load()
Buckets.load()
Window.load()
Line.load('', '', 1, '')
Window.drop_expired()
Line.drop_absent()

local people = next(Line.waiting('interactive')) and 'interactive' or nil
local reserve = people and 0 or policy.line.reserve

-- Where nothing else bounds them, those who wait come at a pace.
local function paced()
    local since = math.min(0.5, now - (Line.is.forward or 0))
    return math.max(1, math.floor(since / policy.line.spacing))
end

local function room()
    if Gate.stopped_until or Gate.closed_until or Breaker.ask(0) == 'refuse' then return 0 end
    if Breaker.is.state ~= 'closed' then return Breaker.free_probes() end
    local most = math.min(Window.room(people or 'batch'), Buckets.room(reserve))
    return most == math.huge and paced() or most
end

local function scan(from, to, depth)
    return redis.call('ZRANGEBYSCORE', K.waiters, from, to, 'LIMIT', 0, depth)
end

local soon = spelt(now + policy.line.ahead)
local coming = scan('-inf', soon, AT_ONCE)
local free = math.min(room() - #coming, policy.line.at_once)
local found = {}
if free >= 1 then
    local waiters = scan('(' .. soon, '+inf', people and AT_ONCE or 4 * policy.line.at_once)
    found = Line.next(waiters, math.floor(free), people, coming, Buckets.seconds(Buckets.usual({})))
    for _, member in ipairs(found) do redis.call('ZADD', K.waiters, 'XX', soon, member) end
    if #found > 0 then write(K.line, {forward = now}) end
end
return cjson.encode({now = now, waiters = found})
