-- Set fields of a map, for whoever holds a lease.
-- KEYS[1]  the map
-- KEYS[2]  the lease
-- ARGV[1]  the token that the lease must still have
-- behind   field, value, field, value ...
-- Returns 1, or 0 where somebody else has the lease.

if redis.call('HGET', KEYS[2], 'token') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
return 1
