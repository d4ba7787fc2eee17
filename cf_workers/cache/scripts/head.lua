-- What scripts read of an entry: when it was stored, until when it is fresh and kept, what it cost.
local HEAD = '^2 (%d+) (%d+) (%d+) (%d*)%-? '
