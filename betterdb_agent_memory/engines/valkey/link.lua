-- Set, add to or remove one link at both of its ends, or remove all links of a record.
-- KEYS[1]  the key of a record's links
-- ARGV[1]  'add', 'put', 'remove' or 'forget'
-- ARGV[2]  what the keys of links begin with
-- ARGV[3]  the record's id; behind it, but with 'forget', ARGV[4] the other one's
-- with 'add' and 'put' also:
-- ARGV[5]  a score, ARGV[6] the time in ms since when, ARGV[7] the time in ms now
-- ARGV[8..] what links are measured by, see linking.lua, then what the keys of records begin with, one or more
-- Returns 1, or 0 where a record is missing or where there was no link.

local verb, prefix, one, other = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if verb == 'forget' then
  unlink_all(prefix, one)
  return 1
end
if verb == 'remove' then return unlink(prefix, one, other) and 1 or 0 end

local at = 7
measure(function()
  at = at + 1
  return ARGV[at]
end)

local function exists(id)
  for i = at + 1, #ARGV do
    if redis.call('EXISTS', ARGV[i] .. id) == 1 then return true end
  end
  return false
end

if not (exists(one) and exists(other)) then return 0 end
link(prefix, one, other, ARGV[5], ARGV[6], ARGV[7], verb == 'put')
return 1
