-- Add the entry about a record that lies elsewhere, and forget the note that it was to be added.
-- KEYS[1]   the log
-- KEYS[2]   the notes: a hash of entries by token, in the same slot
-- ARGV[1]   the token
-- ARGV[2]   '1' to add the entry, '0' not to, '?' to add it where the note is still there
-- ARGV[3..] how many entries the log keeps, how old they may be in ms ('' for any age), then fields and values in turn
-- Returns 1 where the entry was added, else 0.

local was_noted = redis.call('HDEL', KEYS[2], ARGV[1]) == 1
if ARGV[2] == '0' or (ARGV[2] == '?' and not was_noted) then return 0 end
local fields = {}
for i = 5, #ARGV do fields[i - 4] = ARGV[i] end
return append(KEYS[1], ARGV[3], ARGV[4], fields) and 1 or 0
