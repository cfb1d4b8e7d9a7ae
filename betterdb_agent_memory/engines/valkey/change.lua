-- Change a record, only where it still exists.
-- KEYS[1]   the record
-- ARGV[1]   a field every whole record has: without it the key is gone, or only a fragment
-- ARGV[2..] the change, see changing.lua
-- Returns 0 where there was no record, 1 where it was changed, 2 where it is not as expected.

if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
return change(KEYS[1], 2)
