-- Set a field that the hash does not have: HSETNX, made of commands that every user of ours may run.
-- KEYS[1]  the hash
-- ARGV[1]  the field
-- ARGV[2]  its value
-- Returns 1, or 0 where the hash has such a field.

if redis.call('HGET', KEYS[1], ARGV[1]) then return 0 end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
