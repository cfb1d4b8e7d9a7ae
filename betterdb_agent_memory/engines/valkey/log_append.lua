-- Add an entry to a log that is there.
-- KEYS[1]   the log
-- ARGV[1..] how many entries it keeps, how old they may be in ms ('' for any age), then field, value, field, value ...
-- Returns the entry's position, or nil where there is no log.

local fields = {}
for i = 3, #ARGV do fields[i - 2] = ARGV[i] end
return append(KEYS[1], ARGV[1], ARGV[2], fields)
