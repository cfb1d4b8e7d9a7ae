-- Change integers of one record, only where the record still exists.
-- KEYS[1]   the record
-- ARGV[1]   a field every whole record has: without it the key is gone, or only a fragment
-- ARGV[2]   number of maxima, n
-- ARGV[3..] n times: field, value   the field is raised to the value, never lowered
--           then:    field, amount  the amount is added; missing or unreadable counts as 0
-- Returns 1 where there was a record, 0 where there was none.

local key = KEYS[1]
if redis.call('HEXISTS', key, ARGV[1]) == 0 then return 0 end

local current = {}
local function integer(field)
  if current[field] == nil then
    local stored = redis.call('HGET', key, field)
    local digits = stored and string.match(stored, '^%s*([+-]?%d+)')
    current[field] = digits and tonumber(digits) or 0
  end
  return current[field]
end

local changed = {}
local order = {}
local function change(field, value)
  if not changed[field] then
    changed[field] = true
    order[#order + 1] = field
  end
  current[field] = value
end

local first_increment = 3 + 2 * tonumber(ARGV[2])
for i = 3, first_increment - 1, 2 do
  local value = tonumber(ARGV[i + 1])
  if value > integer(ARGV[i]) then change(ARGV[i], value) end
end
for i = first_increment, #ARGV, 2 do
  change(ARGV[i], integer(ARGV[i]) + tonumber(ARGV[i + 1]))
end

-- One HSET for all: the search index takes the whole record in again at every write.
if #order > 0 then
  local arguments = {}
  for _, field in ipairs(order) do
    arguments[#arguments + 1] = field
    -- Lua would write a millisecond time as 1.7493088e+12.
    arguments[#arguments + 1] = string.format('%.0f', current[field])
  end
  redis.call('HSET', key, unpack(arguments))
end
return 1
