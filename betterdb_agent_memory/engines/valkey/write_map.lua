-- Set fields of a hash, and let it live at least so long.
-- KEYS[1]   the hash
-- ARGV[1]   seconds from now that it must live; one that is there and never expires stays so
-- ARGV[2..] fields and values in turn
-- Returns 1.

local is_new = redis.call('EXISTS', KEYS[1]) == 0
for place = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[place], ARGV[place + 1])
end
local left_ms = redis.call('PTTL', KEYS[1])
if is_new or (left_ms >= 0 and left_ms < ARGV[1] * 1000) then
  redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return 1
