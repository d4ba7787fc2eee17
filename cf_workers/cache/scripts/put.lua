-- Stores an entry.
-- KEYS: entries index lru expiry state counters
-- ARGV: digest entry limit created fresh keep tags now sweep linger_ms failures
-- RETURNS: {stored?, evicted}
-- REPEAT: safe, but counts failures twice
-- USES: accounts place
return {place()}
