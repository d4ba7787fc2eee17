-- Buckets: token buckets of requests, uncached input tokens and output tokens, each filled continuously.
local KINDS = {'requests', 'input_tokens', 'output_tokens'}
local Buckets = {}

-- A kind that is limited neither by us nor by a header has no bucket.
function Buckets.load()
    local saved = read(K.buckets)
    Buckets.saved = saved
    Buckets.by = {}
    for _, kind in ipairs(KINDS) do
        local ours, theirs = policy.limits[kind], saved[kind .. ':limit']
        local per_minute = ours and theirs and math.min(ours, theirs) or ours or theirs
        if per_minute then
            local capacity = math.max(1, per_minute * policy.limits.burst / 60)
            local since = math.max(0, now - (saved[kind .. ':at'] or now))
            local level = (saved[kind .. ':level'] or capacity) + since * per_minute / 60
            Buckets.by[kind] = {rate = per_minute / 60, capacity = capacity, level = math.min(capacity, level),
                ours = ours, theirs = theirs}
        end
    end
end

function Buckets.save()
    local fields = {}
    for kind, bucket in pairs(Buckets.by) do
        fields[kind .. ':level'], fields[kind .. ':at'] = bucket.level, now
    end
    if next(fields) then write(K.buckets, fields) end
end

-- What a call costs: as asked for, or what calls have been costing.
function Buckets.estimate(input, output)
    return {requests = 1, input_tokens = input, output_tokens = output or Buckets.saved['output_tokens:mean'] or 0}
end

-- The kind that keeps a call waiting longest, and the seconds; 0 when all have enough.
-- A call that costs more than a bucket holds passes when it is full, and overdraws it.
function Buckets.wait(cost, reserve)
    local longest, slowest = 0, nil
    for kind, bucket in pairs(Buckets.by) do
        local needed = math.min(cost[kind] + reserve * bucket.capacity, bucket.capacity)
        local wait = (needed - bucket.level) / bucket.rate
        if wait > longest then longest, slowest = wait, kind end
    end
    return longest, slowest
end

function Buckets.take(cost)
    for kind, bucket in pairs(Buckets.by) do
        bucket.level = math.min(bucket.capacity, bucket.level - (cost[kind] or 0))
    end
end

-- The seconds of the scarcest bucket that a call uses up; 1 where nothing is limited.
function Buckets.seconds(cost)
    local most = nil
    for kind, bucket in pairs(Buckets.by) do
        local seconds = (cost[kind] or 0) / bucket.rate
        if not most or seconds > most then most = seconds end
    end
    return most or 1
end

-- What calls have been costing; of what is not known yet, what this one does.
function Buckets.usual(cost)
    local usual = {requests = 1}
    for _, kind in ipairs({'input_tokens', 'output_tokens'}) do
        usual[kind] = Buckets.saved[kind .. ':mean'] or cost[kind]
    end
    return usual
end

-- How far apart calls can be admitted in the long run, by what they have been costing; nil if not limited.
function Buckets.spacing(cost)
    if not next(Buckets.by) then return nil end
    return Buckets.seconds(Buckets.usual(cost))
end

-- How many calls of the usual cost there is enough for; without bounds if nothing is limited.
function Buckets.room(reserve)
    local usual, least = Buckets.usual({}), math.huge
    for kind, bucket in pairs(Buckets.by) do
        local cost = usual[kind] or 0
        local spare = bucket.level - math.min(cost + reserve * bucket.capacity, bucket.capacity)
        if spare < 0 then return 0 end
        if cost > 0 then least = math.min(least, 1 + math.floor(spare / cost)) end
    end
    return least
end

function Buckets.scarce()
    for _, bucket in pairs(Buckets.by) do
        if bucket.level < bucket.capacity / 2 then return true end
    end
    return false
end

function Buckets.learn_costs(real)
    local fields = {}
    for _, kind in ipairs({'input_tokens', 'output_tokens'}) do
        local mean = Buckets.saved[kind .. ':mean'] or real[kind]
        fields[kind .. ':mean'] = mean + (real[kind] - mean) * 0.1
    end
    write(K.buckets, fields)
end

-- Takes limits and levels from the provider's headers where they are lower than ours.
-- It rounds the tokens that remain to thousands. Returns whether a limit is new.
function Buckets.learn_limits(told, age)
    local fields = {}
    for _, kind in ipairs(KINDS) do
        local header = told[kind]
        if header and header.limit and header.limit > 0 and header.limit ~= Buckets.saved[kind .. ':limit'] then
            Buckets.saved[kind .. ':limit'] = header.limit
            fields[kind .. ':limit'] = header.limit
        end
    end
    if next(fields) then
        Buckets.save()
        write(K.buckets, fields)
        Buckets.load()
    end
    for kind, bucket in pairs(Buckets.by) do
        local header = told[kind]
        if header and header.remaining then
            local rounding = kind == 'requests' and 0 or 500
            bucket.level = math.min(bucket.level, header.remaining + rounding + age * bucket.rate)
        end
    end
    return next(fields) ~= nil
end
