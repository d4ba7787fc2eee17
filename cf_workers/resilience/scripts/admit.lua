-- Decides whether a call may be made now: spending, gate, breaker, window, buckets, share - all or nothing.
-- KEYS: spend breaker gate buckets window flights permits probes line waiters waiting
-- ARGV: policy permit tenant weight lane waiter input output lease random
-- RETURNS: JSON; {admitted = true, probe, now, changes} or {admitted = false, reason, retry_in, until, now, changes}
-- REPEAT: safe; a permit that was granted and not heard of is held until its lease runs out
-- USES: moment gate breaker buckets window line
local random = tonumber(A.random)
Gate.load()
Breaker.load()
Buckets.load()
Window.load()
Line.load(A.tenant, A.lane, tonumber(A.weight), A.waiter)
Window.drop_expired()
Line.drop_absent()

local cost = Buckets.estimate(tonumber(A.input), tonumber(A.output))
local seconds = Buckets.seconds(cost)

local function spacing()
    local limited, flying = Buckets.spacing(cost), Window.spacing()
    if not limited and not flying then return policy.line.spacing end
    return math.max(limited or 0, flying or 0)
end

local function refuse(reason, wait, moment)
    local counted, due = 'refused:' .. reason, nil
    write(K.window, {[counted] = (Window.is[counted] or 0) + 1})
    if reason == 'breaker_open' and Breaker.comes_as_probe() then
        due = Line.join(reason, wait, 0, 0)
    elseif reason == 'breaker_open' then
        due = Line.join(reason, wait + math.min(1, Window.duration()), spacing(), random)
    else
        due = Line.join(reason, wait, spacing(), random)
    end
    return cjson.encode({admitted = false, reason = reason, retry_in = due - now, until_ = moment, now = now})
end

if Gate.stopped_until then
    return refuse('spend_limit', math.min(Gate.stopped_until - now, policy.gate.recheck), Gate.stopped_until)
end
if Gate.closed_until then
    return refuse('gate_closed', math.min(Gate.closed_until - now, policy.gate.recheck), Gate.closed_until)
end
local verdict, wait = Breaker.ask(Window.is.duration or 1)
if verdict == 'refuse' then
    return refuse('breaker_' .. Breaker.is.state, math.min(wait, policy.gate.recheck), now + wait)
end
if not Window.has_room(A.lane) then
    return refuse('in_flight', Window.duration() / math.max(1, Window.in_flight))
end
local short, kind = Buckets.wait(cost, A.lane == 'interactive' and 0 or policy.line.reserve)
if kind then return refuse(kind, short) end
if verdict == 'pass' and (Buckets.scarce() or Window.scarce()) then
    if Line.batch_must_yield() then return refuse('priority', spacing()) end
    if Line.is_ahead(seconds) then return refuse('share', spacing()) end
    if A.lane ~= 'interactive' and Line.newcomer_must_queue() then return refuse('queue', 0) end
end

local probe = verdict == 'probe'
if probe then Breaker.send_probe(A.permit, A.lease) end
Buckets.take(cost)
Buckets.save()
Line.admit(seconds)
Window.take_off(A.permit, A.lease, {g = Breaker.is.generation, p = probe and 1 or 0, i = cost.input_tokens,
    o = cost.output_tokens, te = A.tenant, w = tonumber(A.weight), l = A.lane})
return cjson.encode({admitted = true, probe = probe, now = now, changes = Breaker.changes})
