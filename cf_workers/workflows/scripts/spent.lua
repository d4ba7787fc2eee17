-- Shared: adds what calls took and cost to the totals of a run; a cost of '' is one whose price is not known.
local function add_to_run()
    if A.input_tokens ~= '0' then redis.call('HINCRBY', K.run, 'input_tokens', A.input_tokens) end
    if A.output_tokens ~= '0' then redis.call('HINCRBY', K.run, 'output_tokens', A.output_tokens) end
    if A.cost_nanos == '' then
        redis.call('HINCRBY', K.run, 'unpriced', 1)
    elseif A.cost_nanos ~= '0' then
        redis.call('HINCRBY', K.run, 'cost_nanos', A.cost_nanos)
    end
end

-- Shared: counts calls that were paid and whose answers are lost.
local function add_lost(calls)
    if calls == '0' then return end
    redis.call('HINCRBY', K.run, 'lost_calls', calls)
    redis.call('HINCRBY', K.counters, 'lost_calls', calls)
end
