-- Takes in how a call ended: frees its slot, corrects the buckets, and moves breaker, window and gate.
-- KEYS: spend breaker gate buckets window flights permits probes line
-- ARGV: policy permit outcome congestion charge input output retry_after told age stop_until stop_code random
--   outcome     success, fault, answered or none: what it says of the provider
--   congestion  '', rate, ramp or overload
--   charge      usage (as input and output say), estimate, request or nothing
-- RETURNS: JSON {known, now, changes, gate_until, stopped_until}; known is false for a permit that is settled or lapsed
-- REPEAT: safe; a second call finds the permit settled
-- USES: moment gate breaker buckets window line
local random = tonumber(A.random)
Gate.load()
Breaker.load()
Buckets.load()
Window.load()
Line.is = {}

if A.stop_code ~= '' then Gate.stop(tonumber(A.stop_until), A.stop_code) end
local asked = tonumber(A.retry_after)
if A.congestion == 'rate' or A.congestion == 'ramp' then
    Gate.close(asked or policy.gate.unstated, A.congestion .. '_limit')
elseif asked then
    Gate.close(asked, 'retry_after')
end

-- An estimate stands where nothing better is known: a call that broke off may have been counted in full.
local function real_cost(record)
    if A.charge == 'usage' then
        return {requests = 1, input_tokens = tonumber(A.input), output_tokens = tonumber(A.output)}
    elseif A.charge == 'estimate' then
        return {requests = 1, input_tokens = record.i, output_tokens = 0}
    elseif A.charge == 'request' then
        return {requests = 1, input_tokens = 0, output_tokens = 0}
    end
    return {requests = 0, input_tokens = 0, output_tokens = 0}
end

local record = Window.land(A.permit)
if record then
    local reserved = {requests = 1, input_tokens = record.i, output_tokens = record.o}
    local real = real_cost(record)
    Line.correct(record.te, record.w, Buckets.seconds(real) - Buckets.seconds(reserved))
    Buckets.take({requests = real.requests - 1, input_tokens = real.input_tokens - record.i,
        output_tokens = real.output_tokens - record.o})
    if A.charge == 'usage' then Buckets.learn_costs(real) end
    -- An outage is the breaker's business: its probes say nothing of how many calls are too many.
    if A.congestion ~= '' and Breaker.is.state == 'closed' then Window.cut(record, A.congestion == 'ramp') end
    if A.outcome == 'success' then Window.grow(record) end
    Breaker.record(A.permit, record, A.outcome, random)
end
if Buckets.learn_limits(cjson.decode(A.told), tonumber(A.age)) then Line.begin_anew() end
Buckets.save()
return cjson.encode({known = record and true or false, now = now, changes = Breaker.changes,
    gate_until = Gate.closed_until, stopped_until = Gate.stopped_until})
