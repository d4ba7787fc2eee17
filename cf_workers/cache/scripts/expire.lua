-- Accounts out some of the entries whose time is over.
-- KEYS: entries index lru expiry state counters
-- ARGV: now most
-- RETURNS: how many
-- REPEAT: safe
-- USES: accounts
return sweep(tonumber(A.now), A.most)
