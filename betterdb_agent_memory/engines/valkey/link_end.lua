-- Set or add to a link at one of its ends, where the other one lies in another slot.
-- KEYS[1]  the key of the record's links
-- ARGV[1]  the other one's id
-- ARGV[2]  a score, ARGV[3] the time in ms since when, ARGV[4] the time in ms now, ARGV[5] 1 to set, 0 to add
-- ARGV[6..] what links are measured by, see linking.lua
-- Returns the ids of those that the record is linked to no more, for the others to be told.

local at = 5
measure(function()
  at = at + 1
  return ARGV[at]
end)
return (link_end('', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1'))
