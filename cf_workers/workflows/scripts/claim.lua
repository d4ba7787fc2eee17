-- Takes a step on: gives it to this worker with a fence, or says why not.
-- KEYS: run steps events claims due parked counters outputs
-- ARGV: id step attempt worker dependencies rule lease may_take_over max_deaths wire ttl early passes nonce
-- RETURNS: {verdict, fence, attempts, deaths, outputs of the dependencies, probes, workers that died}; verdict is
-- one of
--   run        execute it
--   skip       its rule says that it never runs: commit it as skipped
--   cancel     the run is stopping: commit it as cancelled
--   lost       too many workers died under it: commit it as failed
--   done       it has ended already: release what follows, again
--   held       another claim is alive, or must be taken for alive
--   waiting    its next attempt is not due yet
--   early      a dependency has not ended
--   over, stale, gone, wire    nothing to do: the run has ended, is at another attempt, is unknown, is too new
-- REPEAT: safe; with the same nonce, a claim that was granted and not heard of is granted again as it was
local state = redis.call('HMGET', K.run, 'status', 'stopping', 'attempt', 'version')
local function nothing_to_do(verdict)
    for _, key in ipairs({K.due, K.parked}) do redis.call('ZREM', key, A.id .. '\t' .. A.step) end
    return {verdict, 0, 0, 0}
end
if not state[1] then return nothing_to_do('gone') end
if tonumber(state[4] or '1') > tonumber(A.wire) then return {'wire', 0, 0, 0} end
if state[3] ~= A.attempt then return {'stale', 0, 0, 0} end
if state[1] == 'succeeded' or state[1] == 'failed' or state[1] == 'cancelled' then return nothing_to_do('over') end
local clock = redis.call('TIME')
local at = string.format('%d.%06d', clock[1], clock[2])
local now = tonumber(at)

local raw = redis.call('HGET', K.steps, A.step)
local step = raw and cjson.decode(raw) or {f = 0, a = 0, d = 0}
if step.s == 'succeeded' or step.s == 'failed' or step.s == 'skipped' or step.s == 'cancelled' then
    return {'done', step.f, step.a, step.d}
end

local granted = step.s == 'running' and A.nonce ~= '' and step.n == A.nonce
local took_over = false
if step.s == 'running' and not granted then
    local member = A.id .. '\t' .. A.step .. '\t' .. step.f
    local renewed = redis.call('ZSCORE', K.claims, member)
    if renewed and tonumber(renewed) > now - tonumber(A.lease) then return {'held', step.f, step.a, step.d} end
    if A.may_take_over ~= '1' then return {'held', step.f, step.a, step.d} end
    redis.call('ZREM', K.claims, member)
    took_over = true
end
if (step.s == 'retrying' or step.s == 'parked') and step.due > now + tonumber(A.early) and state[2] == '' then
    return {'waiting', step.f, step.a, step.d}
end

local verdict = 'run'
local dependencies = cjson.decode(A.dependencies)
for _, dependency in ipairs(dependencies) do
    local found = redis.call('HGET', K.steps, dependency)
    local ended = found and cjson.decode(found).s or ''
    if ended ~= 'succeeded' then
        if ended ~= 'failed' and ended ~= 'skipped' and ended ~= 'cancelled' then
            if state[2] == '' then return {'early', 0, 0, 0} end
        elseif A.rule == 'all_succeeded' then
            verdict = 'skip'
        end
    end
end
if state[2] ~= '' then verdict = 'cancel' end

if took_over then
    step.d = step.d + 1
    step.x = step.x or {}
    if #step.x < 20 then step.x[#step.x + 1] = step.w end
    redis.call('HINCRBY', K.run, 'lost_calls', 1)
    redis.call('HINCRBY', K.counters, 'lost_calls', 1)
elseif not granted then
    redis.call('HINCRBY', K.run, 'running', 1)
end
if verdict == 'run' and tonumber(step.d) >= tonumber(A.max_deaths) then verdict = 'lost' end
if step.s == 'parked' then redis.call('HINCRBY', K.run, 'parked', -1) end
if not granted then step.f = redis.call('HINCRBY', K.run, 'fence', 1) end
step.s = 'running'
step.w = A.worker
step.n = A.nonce
step.due = nil
step.y = nil
if verdict == 'run' and not granted then
    if not step.st then step.st = at end
    if state[1] == 'pending' then
        redis.call('HSET', K.run, 'status', 'running', 'started_at', at)
        redis.call('XADD', K.events, '*', 'type', 'run.started', 'at', at)
    end
    redis.call('XADD', K.events, '*', 'type', 'step.started', 'at', at, 'step', A.step,
        'attempts', step.a + 1, 'deaths', step.d)
end
redis.call('HSET', K.steps, A.step, cjson.encode(step))
if redis.call('TTL', K.steps) == -1 then redis.call('EXPIRE', K.steps, A.ttl) end
redis.call('ZADD', K.claims, now, A.id .. '\t' .. A.step .. '\t' .. step.f)
for _, key in ipairs({K.due, K.parked}) do redis.call('ZREM', key, A.id .. '\t' .. A.step) end
local outputs = {}
if verdict == 'run' and A.passes == '1' then
    for index, dependency in ipairs(dependencies) do
        outputs[index] = redis.call('HGET', K.outputs, dependency)
    end
end
return {verdict, step.f, step.a, step.d, outputs, step.p or 0, step.x or {}}
