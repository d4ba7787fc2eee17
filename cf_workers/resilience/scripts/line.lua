-- Line: who goes first when there is not enough for all, and when is it worth asking again?
-- Tenants share by start-time fair queueing: each admission moves its tenant's virtual time on by the cost over
-- the weight, and whoever is ahead of a waiting tenant steps back. Callers that are refused are given turns at
-- the pace of admission, so that they neither come as one nor ask in vain.
local Line = {mine = {}}

function Line.load(tenant, lane, weight, waiter)
    Line.is = read(K.line)
    Line.tenant, Line.lane, Line.weight = tenant, lane, weight
    Line.member = waiter ~= '' and (lane .. '\t' .. tenant .. '\t' .. waiter) or nil
    Line.turns = Line.member and redis.call('HGET', K.waiting, Line.member)
    Line.time = Line.is.V or 0
end

local function count(member, by)
    local lane, tenant = string.match(member, '^(.-)\t(.-)\t')
    local field = 'n:' .. lane .. ':' .. tenant
    Line.is[field] = redis.call('HINCRBY', K.line, field, by)
    redis.call('EXPIRE', K.line, policy.ttl)
end

function Line.leave(member)
    if redis.call('ZREM', K.waiters, member) == 0 then return false end
    redis.call('HDEL', K.waiting, member)
    count(member, -1)
    return true
end

-- Forgets those who did not come when it was their turn.
function Line.drop_absent()
    local late = spelt(now - policy.line.grace)
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', K.waiters, '-inf', late, 'LIMIT', 0, 50)) do
        if member ~= Line.member then Line.leave(member) end
    end
end

-- Weights of the tenants that wait, by tenant; those of one lane only if it is given.
function Line.waiting(only)
    local found = {}
    for field, number in pairs(Line.is) do
        local lane, tenant = string.match(field, '^n:(.-):(.*)$')
        if lane and number > 0 and (not only or lane == only) then
            found[tenant] = Line.is['w:' .. tenant] or 1
        end
    end
    return found
end

function Line.newcomer_must_queue()
    return Line.member and not Line.turns and (Line.is['n:' .. Line.lane .. ':' .. Line.tenant] or 0) > 0
end

function Line.batch_must_yield()
    return Line.lane ~= 'interactive' and next(Line.waiting('interactive')) ~= nil
end

local function start_of(tenant) return math.max(Line.time, Line.is['v:' .. tenant] or 0) end

-- Whether a tenant that waits has had less than its share, by more than the slack. Interactive work may be
-- further ahead of those who have only batch work to wait with.
function Line.is_ahead(seconds)
    local interactive = Line.lane == 'interactive'
    local rivals = interactive and Line.waiting('interactive') or {}
    local start, call = start_of(Line.tenant), seconds / Line.weight
    for tenant in pairs(Line.waiting()) do
        local slack = interactive and not rivals[tenant] and policy.line.interactive_slack or policy.line.slack
        if tenant ~= Line.tenant and start_of(tenant) < start - slack * call then return true end
    end
    return false
end

-- The least virtual time of those who wait or have asked lately. A tenant with few calls at a time is between
-- two of them for a moment, and does not lose what it is behind by that; who was idle for longer does.
local function least_start()
    local least = start_of(Line.tenant)
    for tenant in pairs(Line.waiting()) do least = math.min(least, start_of(tenant)) end
    for field, asked in pairs(Line.is) do
        local tenant = string.match(field, '^t:(.*)$')
        if tenant and asked > now - policy.line.grace then least = math.min(least, start_of(tenant)) end
    end
    return least
end

function Line.admit(seconds)
    if Line.turns then Line.leave(Line.member) end
    local start, floor = start_of(Line.tenant), least_start()
    local ceiling = floor + policy.line.interactive_slack * seconds / Line.weight
    write(K.line, {V = floor, ['v:' .. Line.tenant] = math.min(start + seconds / Line.weight, ceiling),
        ['w:' .. Line.tenant] = Line.weight, ['t:' .. Line.tenant] = now})
end

-- Corrects the share by what the call has really used.
function Line.correct(tenant, weight, seconds)
    local virtual = redis.call('HGET', K.line, 'v:' .. tenant)
    if virtual and seconds ~= 0 then
        write(K.line, {['v:' .. tenant] = tonumber(virtual) + seconds / weight})
    end
end

-- Virtual time is in seconds of the scarcest bucket. With other limits those that have passed mean nothing: what
-- had been had without limits would be paid for many times over.
function Line.begin_anew()
    for _, field in ipairs(redis.call('HKEYS', K.line)) do
        if field == 'V' or string.sub(field, 1, 2) == 'v:' then redis.call('HDEL', K.line, field) end
    end
end

local function turn(wait, spacing, random)
    if Line.turns then
        local left = tonumber(string.match(Line.turns, '^%d+'))
        -- It came at its turn and just missed: a short wait, and not again to the end of the line.
        if left > 0 and wait <= math.max(1, 2 * spacing) then
            return now + wait + random * math.max(wait, spacing), left - 1
        end
    end
    local others, field = Line.weight, 'h:' .. Line.lane .. ':' .. Line.tenant
    for tenant, weight in pairs(Line.waiting()) do
        if tenant ~= Line.tenant then others = others + weight end
    end
    local pace = spacing * others / Line.weight / policy.line.eagerness
    local ahead = Line.is['n:' .. Line.lane .. ':' .. Line.tenant] or 0
    local turn_at = math.max(now + wait, math.min(Line.is[field] or 0, now + wait + ahead * pace))
    if turn_at > now + wait + policy.line.longest then
        return now + wait + policy.line.longest * (0.5 + random / 2), 0
    end
    write(K.line, {[field] = turn_at + pace, ['w:' .. Line.tenant] = Line.weight,
        ['t:' .. Line.tenant] = now})
    return turn_at + random * pace, policy.line.turns
end

-- Takes a place in the line; the time at which to ask again.
function Line.join(reason, wait, spacing, random)
    local due, turns = turn(math.max(0, wait), spacing, random)
    if Line.member then
        if redis.call('ZADD', K.waiters, spelt(due), Line.member) == 1 then count(Line.member, 1) end
        redis.call('HSET', K.waiting, Line.member, turns .. ' ' .. reason)
        for _, key in ipairs({K.waiters, K.waiting, K.line}) do redis.call('EXPIRE', key, policy.ttl) end
    end
    return due
end

-- Those of the waiters who go first: of each tenant in the order of its turns, and of all tenants whoever has had
-- least, with those who are coming already.
function Line.next(waiters, number, only, coming, seconds)
    local queues, starts, chosen = {}, {}, {}
    local function go(tenant)
        starts[tenant] = (starts[tenant] or start_of(tenant)) + seconds / (Line.is['w:' .. tenant] or 1)
    end
    for _, member in ipairs(coming) do go(select(2, string.match(member, '^(.-)\t(.-)\t'))) end
    for _, member in ipairs(waiters) do
        local lane, tenant = string.match(member, '^(.-)\t(.-)\t')
        if not only or lane == only then
            queues[tenant] = queues[tenant] or {first = 1}
            table.insert(queues[tenant], member)
            starts[tenant] = starts[tenant] or start_of(tenant)
        end
    end
    while #chosen < number do
        local first
        for tenant in pairs(queues) do
            if not first or starts[tenant] < starts[first] then first = tenant end
        end
        if not first then break end
        local queue = queues[first]
        chosen[#chosen + 1], queue.first = queue[queue.first], queue.first + 1
        if not queue[queue.first] then queues[first] = nil end
        go(first)
    end
    return chosen
end
