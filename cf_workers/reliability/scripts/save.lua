-- Notes that a message which was received is being worked on, and receives as many more as there is room for,
-- which thereby cannot get lost in between.
-- KEYS: unacked index queue
-- ARGV: tag message now most
-- now: the worker's clock, by which kombu tells what has been abandoned; message: as kombu keeps it
-- RETURNS: the further messages, as they stood in the queue; one that cannot be read stays there
-- REPEAT: not safe; receives others
-- USES: saving
save(A.tag, A.message)
local taken = {}
for _ = 1, tonumber(A.most) do
    local raw = receive(K.queue)
    if not raw then break end
    taken[#taken + 1] = raw
end
return taken
