-- Delete a record that is as expected.
-- KEYS[1]   the record
-- ARGV[1..] what is expected, see expecting.lua
-- Returns how many there were: 1 or 0.

if not expect_all(KEYS[1], 1) then return 0 end
return redis.call('DEL', KEYS[1])
