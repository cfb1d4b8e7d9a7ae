-- Hold a part of a log as one consumer of a group, and say how far it has been handled.
-- KEYS[1]  the group: a hash of `partitions`, and for each partition n (from 0) `p<n>`, the position up to which it has
--          been handled, and `o<n>`, its owner; for each consumer c that is alive `c<c>`, until when, in ms
-- ARGV[1]  the consumer
-- ARGV[2]  for how many milliseconds from now it is alive, or 0 to leave
-- ARGV[3]  '1' where partitions may be taken over and given up
-- ARGV[4]  how many partitions a new group has
-- ARGV[5]  where a new group begins
-- ARGV[6..] partitions, and the positions up to which they were handled, in turn
-- Returns the partitions held and the positions behind which to go on, in turn.

local group, consumer, hold_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)

local partitions = tonumber(redis.call('HGET', group, 'partitions'))
if not partitions then
  if hold_ms == 0 then return {} end
  partitions = tonumber(ARGV[4])
  redis.call('HSET', group, 'partitions', partitions)
  for n = 0, partitions - 1 do redis.call('HSET', group, 'p' .. n, ARGV[5]) end
end

local function is_later(one, other)
  local ms, number = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_number = string.match(other, '^(%d+)-(%d+)$')
  ms, other_ms = tonumber(ms), tonumber(other_ms)
  return ms > other_ms or (ms == other_ms and tonumber(number) > tonumber(other_number))
end

for i = 6, #ARGV, 2 do
  local n, position = ARGV[i], ARGV[i + 1]
  -- What others hold by now they go on with from where it stood.
  if redis.call('HGET', group, 'o' .. n) == consumer and is_later(position, redis.call('HGET', group, 'p' .. n)) then
    redis.call('HSET', group, 'p' .. n, position)
  end
end

local alive, names = {}, {}
local stored = redis.call('HGETALL', group)
for i = 1, #stored, 2 do
  if string.sub(stored[i], 1, 1) == 'c' then
    local name = string.sub(stored[i], 2)
    if name == consumer or tonumber(stored[i + 1]) <= now_ms then
      redis.call('HDEL', group, stored[i])
    else
      alive[name] = true
      names[#names + 1] = name
    end
  end
end

if hold_ms == 0 then
  for n = 0, partitions - 1 do
    if redis.call('HGET', group, 'o' .. n) == consumer then redis.call('HDEL', group, 'o' .. n) end
  end
  return {}
end
redis.call('HSET', group, 'c' .. consumer, string.format('%.0f', now_ms + hold_ms))
alive[consumer] = true
names[#names + 1] = consumer

local held, free = {}, {}
for n = 0, partitions - 1 do
  local owner = redis.call('HGET', group, 'o' .. n)
  if owner == consumer then
    held[#held + 1] = n
  elseif not owner or not alive[owner] then
    free[#free + 1] = n
  end
end

if ARGV[3] == '1' then
  table.sort(names)
  local share = math.floor(partitions / #names)
  for rank = 1, partitions % #names do
    if names[rank] == consumer then share = share + 1 end
  end
  while #held > share do
    redis.call('HDEL', group, 'o' .. held[#held])
    held[#held] = nil
  end
  for i = 1, math.min(#free, share - #held) do
    redis.call('HSET', group, 'o' .. free[i], consumer)
    held[#held + 1] = free[i]
  end
end

local answer = {}
for i = 1, #held do
  answer[#answer + 1] = tostring(held[i])
  answer[#answer + 1] = redis.call('HGET', group, 'p' .. held[i])
end
return answer
