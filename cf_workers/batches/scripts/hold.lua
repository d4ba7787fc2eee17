-- Takes or keeps the right to poll.
-- KEYS: poller
-- ARGV: holder lease_ms take
-- RETURNS: 1, or 0 when another holds it, or nobody does and it is only to be kept
-- REPEAT: safe
local holder = redis.call('GET', K.poller)
if holder and holder ~= A.holder then return 0 end
if not holder and A.take ~= '1' then return 0 end
redis.call('SET', K.poller, A.holder, 'PX', A.lease_ms)
return 1
