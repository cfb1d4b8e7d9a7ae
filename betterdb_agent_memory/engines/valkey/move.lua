-- Make one record another one, with its expiry, in one atomic step.
-- KEYS[1]   the record
-- KEYS[2]   its key to be; what is there is replaced
-- ARGV[1..] fields that are left behind
-- Returns 1, or 0 where there was no record.

local fields = redis.call('HGETALL', KEYS[1])
if #fields == 0 then return 0 end
local left_ms = redis.call('PTTL', KEYS[1])
local left_behind = {}
for _, name in ipairs(ARGV) do left_behind[name] = true end
redis.call('DEL', KEYS[2])
for place = 1, #fields, 2 do
  if not left_behind[fields[place]] then redis.call('HSET', KEYS[2], fields[place], fields[place + 1]) end
end
if left_ms >= 0 then redis.call('PEXPIRE', KEYS[2], left_ms) end
redis.call('DEL', KEYS[1])
return 1
