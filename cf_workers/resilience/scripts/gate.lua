-- Gate: closed to all while the provider asks to wait, or until somebody may spend again.
local Gate = {}

function Gate.load()
    local gate, spend = read(K.gate), read(K.spend)
    if gate['until'] and gate['until'] > now then Gate.closed_until, Gate.reason = gate['until'], gate.reason end
    if spend['until'] and spend['until'] > now then Gate.stopped_until, Gate.code = spend['until'], spend.code end
end

local function shut(key, moment, fields)
    fields['until'] = moment
    write(key, fields)
    redis.call('EXPIRE', key, math.ceil(moment - now) + 1)
end

function Gate.close(seconds, reason)
    local moment = now + math.min(seconds, policy.gate.longest)
    if moment <= (Gate.closed_until or 0) then return end
    Gate.closed_until, Gate.reason = moment, reason
    shut(K.gate, moment, {reason = reason})
end

function Gate.stop(moment, code)
    if moment <= now or moment <= (Gate.stopped_until or 0) then return end
    Gate.stopped_until, Gate.code = moment, code
    shut(K.spend, moment, {code = code})
end
