-- Let a key expire later or earlier, if its expiry is as expected.
-- KEYS[1]  the string or hash
-- ARGV[1]  seconds from now
-- ARGV[2]  when it must be going to expire, ms since the epoch, or -1 for never
-- Returns 1, or 0 when the key is gone or its expiry is another.

-- As text: Lua's numbers would be compared exactly too, but not before they were parsed.
if string.format('%.0f', redis.call('PEXPIRETIME', KEYS[1])) ~= ARGV[2] then return 0 end
return redis.call('EXPIRE', KEYS[1], ARGV[1])
