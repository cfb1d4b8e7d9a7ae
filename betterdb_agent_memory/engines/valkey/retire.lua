-- Move a record to another key, and store or change the record that takes its place, in one atomic step.
-- KEYS        first those of beside.lua; then the record's key to be, and its successor's key if there is one
-- ARGV        first those of beside.lua (of its letters only F, f, G and L); behind them, counted from there:
--   what is expected of the record, see expecting.lua
--   '1' to replace what is at its key to be, '0' to leave everything as it is if something is there
--   for how many ms it is kept at most, '' for as long as it would have lived
--   n, then n times: field, value    set on the way
--   n, then n times: field           left behind
--   '' without a successor; else 'store' or 'change', its id, the length of a list and, in turn, fields and values of
--     the log's entry about it (none if nothing is told of it), and behind that:
--     'store'    what to store, see storing.lua
--     'change'   a field every whole record has, and the change, see changing.lua
-- Returns 0 where there was no record, 1 where it was done, 2 where it is not as expected, 3 where its key to be is
-- taken, LOST, 5 where the successor that was to be changed is not there or not as expected.

if beside.is_lost then return LOST end
local holds, at = expect_all(KEYS[1], beside.next)

local function take()
  at = at + 1
  return ARGV[at - 1]
end

local function take_list(width)
  local list = {}
  for i = 1, tonumber(take()) * width do list[i] = take() end
  return list
end

local fields = redis.call('HGETALL', KEYS[1])
if #fields == 0 then return 0 end
if not holds then return 2 end
local replaces, most_ms = take(), take()
local sets, left_behind = take_list(2), {}
for _, name in ipairs(take_list(1)) do left_behind[name] = true end
local manner = take()
local successor = manner ~= '' and KEYS[#KEYS]
local target = successor and KEYS[#KEYS - 1] or KEYS[#KEYS]
if replaces ~= '1' and redis.call('EXISTS', target) == 1 then return 3 end

-- The successor first: it is the write that the server refuses when memory is full, and then nothing has changed.
if successor then
  local id, said = take(), take_list(1)
  if manner == 'store' then
    local refusal = store(successor, at, #ARGV)
    if refusal then return refusal end
    if beside.group_fields then
      local group = group_now(successor)
      redis.call('HSET', beside.counts_key, '@' .. group, id)
      if redis.call('HEXISTS', beside.counts_key, group) == 1 then redis.call('HINCRBY', beside.counts_key, group, 1) end
    end
  else
    if redis.call('HEXISTS', successor, ARGV[at]) == 0 then return 5 end
    if change(successor, at + 1) ~= 1 then return 5 end
  end
  if beside.log_key and #said > 0 then
    beside.copies = redis.call('HMGET', successor, unpack(beside.copied))
    announce(said)
  end
end

local left_ms = redis.call('PTTL', KEYS[1])
if most_ms ~= '' and (left_ms < 0 or left_ms > tonumber(most_ms)) then left_ms = most_ms end
local before = group_now()
local kept = {}
for i = 1, #fields, 2 do
  if not left_behind[fields[i]] then
    kept[#kept + 1] = fields[i]
    kept[#kept + 1] = fields[i + 1]
  end
end
for _, part in ipairs(sets) do kept[#kept + 1] = part end
if replaces == '1' then redis.call('DEL', target) end
redis.call('HSET', target, unpack(kept))
if tonumber(left_ms) >= 0 then redis.call('PEXPIRE', target, left_ms) end
redis.call('DEL', KEYS[1])
if beside.log_key then beside.copies = redis.call('HMGET', target, unpack(beside.copied)) end
deleted(before)
return 1
