-- Closes the breaker, and on request opens the gate and forgets what was learnt of limits and window.
-- KEYS: spend breaker gate buckets window line probes
-- ARGV: policy everything
-- RETURNS: JSON {now, changes}
-- REPEAT: safe
-- USES: moment breaker
Breaker.load()
if Breaker.is.state ~= 'closed' then
    change('closed', 'reset', {openings = 0, consecutive = 0})
end
local state = {state = 'closed', generation = Breaker.is.generation}
redis.call('DEL', K.breaker)
write(K.breaker, state)
if A.everything == '1' then
    local epoch = redis.call('HGET', K.window, 'epoch')
    redis.call('DEL', K.spend, K.gate, K.buckets, K.window)
    if epoch then write(K.window, {epoch = tonumber(epoch) + 1}) end
    for _, field in ipairs(redis.call('HKEYS', K.line)) do
        if string.sub(field, 1, 2) == 'h:' then redis.call('HDEL', K.line, field) end
    end
end
return cjson.encode({now = now, changes = Breaker.changes})
