-- Delete a string that is as expected.
-- KEYS[1]  the string
-- ARGV[1]  what it must be
-- Returns how many there were: 1 or 0.

local kind = redis.call('TYPE', KEYS[1])
if kind.ok ~= 'string' or redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
