-- Store a record whole, with its expiry, in one atomic step; or change the one that is there.
-- KEYS[1]      the record
-- ARGV[1]      '' to replace what is there; or a field every whole record has: where it exists, the record
--              is changed instead
-- ARGV[2]      index of the last argument about storing
-- ARGV[3..]    what to store, see storing.lua
-- behind that  with ARGV[1] the change, see changing.lua
-- Returns 3 where the record was stored, 1 where it was changed, 2 where it is not as expected.

local last = tonumber(ARGV[2])
if ARGV[1] ~= '' and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return change(KEYS[1], last + 1) end
return store(KEYS[1], 3, last) or 3
