-- Tells the state of all guards of one scope, without changing anything.
-- KEYS: spend breaker gate buckets window flights permits probes line waiters waiting
-- ARGV: policy
-- RETURNS: JSON
-- REPEAT: safe
-- USES: moment gate breaker buckets window
Gate.load()
Breaker.load()
Buckets.load()
Window.load()

local reasons, tenants, lanes = {}, {}, {}
local function add(map, name) map[name] = (map[name] or 0) + 1 end
-- Of very many who wait, some tell why for all of them.
local SAMPLE = 1000
local total = redis.call('HLEN', K.waiting)
local waiting = total > SAMPLE and redis.call('HRANDFIELD', K.waiting, SAMPLE, 'WITHVALUES')
    or redis.call('HGETALL', K.waiting)
for index = 2, #waiting, 2 do add(reasons, string.match(waiting[index], ' (.*)$')) end
for reason, number in pairs(reasons) do
    reasons[reason] = math.floor(number * total / math.min(total, SAMPLE) + 0.5)
end
for field, number in pairs(read(K.line)) do
    local lane, tenant = string.match(field, '^n:(.-):(.*)$')
    if lane and number > 0 then
        lanes[lane] = (lanes[lane] or 0) + number
        tenants[tenant] = (tenants[tenant] or 0) + number
    end
end

local fills = {}
for kind, bucket in pairs(Buckets.by) do
    fills[kind] = {level = bucket.level, capacity = bucket.capacity, per_minute = bucket.rate * 60,
        configured = bucket.ours, told = bucket.theirs}
end

local refused = {}
for field, number in pairs(Window.is) do
    local reason = string.match(field, '^refused:(.*)$')
    if reason then refused[reason] = number end
end

local good, bad = Breaker.outcomes()
local is, size = Breaker.is, Window.is.size
return cjson.encode({
    now = now,
    breaker = {state = is.state, since = is.since, until_ = is.state == 'open' and is['until'] or nil, good = good,
        bad = bad, consecutive = is.consecutive or 0, openings = is.openings or 0,
        probes = redis.call('ZCOUNT', K.probes, spelt(now), '+inf'), successes = is.successes or 0,
        changes = is.generation},
    gate = {until_ = Gate.closed_until, reason = Gate.reason},
    spend = {until_ = Gate.stopped_until, code = Gate.code},
    buckets = fills,
    window = {size = size ~= math.huge and math.max(1, math.floor(size)) or nil,
        in_flight = redis.call('ZCOUNT', K.flights, spelt(now), '+inf'),
        call_seconds = Window.is.duration, lost = Window.is.lost or 0, cut_at = Window.is.cut_at},
    refused = refused,
    waiters = {total = total, reasons = reasons, tenants = tenants, lanes = lanes},
})
