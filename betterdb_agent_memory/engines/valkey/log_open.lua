-- Make a log, where there is none: an empty stream.
-- KEYS[1]  the log
-- Returns 1 where it was made, 0 where it was there.

if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
-- Only a group makes a stream without an entry.
redis.call('XGROUP', 'CREATE', KEYS[1], 'begin', '0', 'MKSTREAM')
redis.call('XGROUP', 'DESTROY', KEYS[1], 'begin')
return 1
