-- Looks an entry up.
-- KEYS: entries lru counters
-- ARGV: digest ttl_ms stale_ms now counts
-- RETURNS: {now in ms, entry, verdict}, as far as look.lua gives them
-- REPEAT: safe, but counts twice
-- USES: moment head look
local now = moment(A.now)
local entry, verdict = look(now, A.stale_ms, A.counts)
return {now, entry, verdict}
