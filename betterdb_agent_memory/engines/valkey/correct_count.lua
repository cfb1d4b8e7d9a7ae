-- Add to the count of a group that is kept, or begin to keep it.
-- KEYS[1]  the map of counts
-- KEYS[2]  with ARGV[4]: a lease
-- ARGV[1]  the group
-- ARGV[2]  what to add; the count then begins from 0 if nobody kept it
-- ARGV[3]  '1' to begin; '' to leave a count alone that nobody keeps
-- ARGV[4]  the token that the lease must still have; or nothing
-- ARGV[5]  the record that was written last; or nothing
-- Returns the count, false where nobody keeps it, or the text LOST. What comes out below 0 is wrong, and not kept.

if ARGV[4] and ARGV[4] ~= '' and redis.call('HGET', KEYS[2], 'token') ~= ARGV[4] then return 'LOST' end
if ARGV[5] then redis.call('HSET', KEYS[1], '@' .. ARGV[1], ARGV[5]) end
if ARGV[3] == '' and redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return false end
local size = redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
if size < 0 then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return false
end
if size == 0 and ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1], '@' .. ARGV[1], '~' .. ARGV[1]) end
return size
