-- Stores a leader's answer and ends its flight; an answer that cannot be stored is no answer for the others.
-- KEYS: entries index lru expiry state counters flight waiters outcomes
-- ARGV: digest entry limit created fresh keep tags now sweep linger_ms failures holder outcome_ms unshared
-- unshared: what each waiter is told in that case
-- RETURNS: {stored?, waiters to wake}; see land.lua
-- REPEAT: not safe; the second call finds that it does not lead, and counts again
-- USES: accounts place landing
redis.call('HINCRBY', K.counters, 'misses', 1)
local stored = place()
return {stored, land(stored == 1 and '' or A.unshared)}
