-- Remove a field that is as expected.
-- KEYS[1]  the hash
-- ARGV[1]  the field
-- ARGV[2]  what its value must be
-- Returns how many there were: 1 or 0.

if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
