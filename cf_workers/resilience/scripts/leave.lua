-- Takes waiters out of the line who will not ask again.
-- KEYS: line waiters waiting
-- ARGV: policy members
-- RETURNS: JSON {left}: how many were in it
-- REPEAT: safe
-- USES: moment line
Line.is = {}
local left = 0
for _, member in ipairs(cjson.decode(A.members)) do
    if Line.leave(member) then left = left + 1 end
end
return cjson.encode({left = left})
