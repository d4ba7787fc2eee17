-- Breaker: closed, open or half-open, by what the provider did in a sliding window of ten slots.
-- Each change begins a new generation, and an outcome counts only in the generation in which it was admitted:
-- the late failures of an outage do not open a breaker again that has closed since.
local SLOTS = 10
local Breaker = {changes = {}}

function Breaker.load()
    Breaker.is = read(K.breaker)
    Breaker.is.state = Breaker.is.state or 'closed'
    Breaker.is.generation = Breaker.is.generation or 0
end

local function change(state, reason, fields)
    local is = Breaker.is
    Breaker.changes[#Breaker.changes + 1] = {before = is.state, after = state, reason = reason,
        until_ = fields['until'], at = now}
    fields.state = state
    fields.since = now
    fields.generation = is.generation + 1
    for name, value in pairs(fields) do is[name] = value end
    redis.call('DEL', K.probes)
    write(K.breaker, fields)
end

local function live_probes()
    redis.call('ZREMRANGEBYSCORE', K.probes, '-inf', spelt(now))
    return redis.call('ZCARD', K.probes)
end

function Breaker.free_probes() return policy.breaker.probes - live_probes() end

-- 'pass', 'probe', or 'refuse' and the seconds to wait.
function Breaker.ask(answer_seconds)
    local is = Breaker.is
    if is.state == 'closed' then return 'pass' end
    if is.state == 'open' then
        if now < is['until'] then return 'refuse', is['until'] - now end
        return 'probe'
    end
    if Breaker.free_probes() > 0 then return 'probe' end
    return 'refuse', math.min(2, math.max(0.05, answer_seconds))
end

-- The first callers that an open breaker refuses come back as its probes, all others a moment later.
function Breaker.comes_as_probe()
    local called = redis.call('HINCRBY', K.breaker, 'called', 1)
    return called <= policy.breaker.probes
end

function Breaker.send_probe(permit, lease)
    if Breaker.is.state == 'open' then change('half_open', 'cooldown_over', {successes = 0}) end
    redis.call('ZADD', K.probes, spelt(now + lease), permit)
    redis.call('EXPIRE', K.probes, policy.ttl)
end

local function open(reason, random)
    local is, rules = Breaker.is, policy.breaker
    local again = is.state == 'half_open' or now - (is.closed_at or 0) < rules.calm
    local openings = again and (is.openings or 0) or 0
    local cooldown = math.min(rules.longest, rules.cooldown * rules.growth ^ openings)
    cooldown = cooldown * (1 + rules.jitter * random)
    local fields = {['until'] = now + cooldown, openings = openings + 1, consecutive = 0, called = 0}
    for slot = 0, SLOTS - 1 do fields['slot' .. slot], fields['good' .. slot], fields['bad' .. slot] = 0, 0, 0 end
    change('open', reason, fields)
end

local function tally(good, bad)
    local is, number = Breaker.is, math.floor(now / (policy.breaker.window / SLOTS))
    local slot = number % SLOTS
    if is['slot' .. slot] ~= number then is['good' .. slot], is['bad' .. slot] = 0, 0 end
    is['slot' .. slot] = number
    is['good' .. slot] = is['good' .. slot] + good
    is['bad' .. slot] = is['bad' .. slot] + bad
    is.consecutive = bad > 0 and (is.consecutive or 0) + bad or 0
    write(K.breaker, {['slot' .. slot] = number, ['good' .. slot] = is['good' .. slot],
        ['bad' .. slot] = is['bad' .. slot], consecutive = is.consecutive})
end

-- The good and the bad outcomes within the window.
function Breaker.outcomes()
    local is, good, bad = Breaker.is, 0, 0
    local oldest = math.floor(now / (policy.breaker.window / SLOTS)) - SLOTS
    for slot = 0, SLOTS - 1 do
        if (is['slot' .. slot] or 0) > oldest then
            good, bad = good + is['good' .. slot], bad + is['bad' .. slot]
        end
    end
    return good, bad
end

local function record_closed(outcome, random)
    if outcome ~= 'success' and outcome ~= 'fault' then return end
    tally(outcome == 'success' and 1 or 0, outcome == 'fault' and 1 or 0)
    local good, bad = Breaker.outcomes()
    local rules = policy.breaker
    if Breaker.is.consecutive >= rules.consecutive then
        open('consecutive_failures', random)
    elseif good + bad >= rules.minimum and bad / (good + bad) >= rules.rate then
        open('failure_rate', random)
    end
end

local function record_probe(outcome, random)
    if outcome == 'fault' then return open('probe_failed', random) end
    if outcome ~= 'success' and outcome ~= 'answered' then return end
    local successes = redis.call('HINCRBY', K.breaker, 'successes', 1)
    if successes >= policy.breaker.successes then change('closed', 'probes_succeeded', {closed_at = now}) end
end

-- What a settled call says of the provider: 'success', 'fault', 'answered' (it is up, and said no) or 'none'.
function Breaker.record(permit, record, outcome, random)
    if record.p == 1 then redis.call('ZREM', K.probes, permit) end
    if record.g ~= Breaker.is.generation then return end
    if Breaker.is.state == 'closed' then
        record_closed(outcome, random)
    elseif record.p == 1 then
        record_probe(outcome, random)
    end
end
