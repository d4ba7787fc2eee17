-- Prolongs a leader's lease, even one that is over, as long as nobody else has taken over.
-- KEYS: flight
-- ARGV: holder lease_ms now
-- RETURNS: whether the caller still leads
-- REPEAT: safe
-- USES: moment
if redis.call('HGET', K.flight, 'holder') ~= A.holder then return 0 end
redis.call('HSET', K.flight, 'until', string.format('%.0f', moment(A.now) + tonumber(A.lease_ms)))
redis.call('PEXPIRE', K.flight, 2 * tonumber(A.lease_ms))
return 1
