-- Gives the right to poll up.
-- KEYS: poller
-- ARGV: holder
-- RETURNS: 1, or 0 when another holds it
-- REPEAT: safe
if redis.call('GET', K.poller) ~= A.holder then return 0 end
return redis.call('DEL', K.poller)
