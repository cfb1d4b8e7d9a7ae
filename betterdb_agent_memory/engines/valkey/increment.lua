-- Add to fields of a hash, to all of them or to none.
-- KEYS[1]   the hash
-- ARGV[1..] fields and whole numbers in turn
-- Returns 1; an error, and nothing done, when a field holds something else than a whole number, or would come to
-- more than Lua can count (2^53).

for place = 1, #ARGV, 2 do
  local stored = redis.call('HGET', KEYS[1], ARGV[place])
  if stored and not string.match(stored, '^%-?%d+$') then
    return redis.error_reply('ERR hash value is not an integer: ' .. ARGV[place])
  end
  if math.abs(tonumber(stored or 0) + tonumber(ARGV[place + 1])) > 9007199254740992 then
    return redis.error_reply('ERR increment would overflow: ' .. ARGV[place])
  end
end
for place = 1, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[place], ARGV[place + 1])
end
return 1
