-- A part of other scripts, behind expecting.lua, with no KEYS and ARGV of its own; touches only the key
-- it is given.
-- change(key, at) changes a record that is there, in one atomic step. It reads from ARGV, from `at` on:
--   what is expected, see expecting.lua
--   n, then n times: field, value    set
--   n, then n times: field           removed
--   n, then n times: field, integer  raised to it, never lowered; missing or unreadable counts as 0
--   n, then n times: field, integer  added; missing or unreadable counts as 0
--   n, then n times: field, number   stored as it is where larger than the number there; missing is smallest
--   n, then n times: field, n, then n times a value: those that are missing from the comma-separated ones
--                                    that are there are appended
--   a field whose integer goes up by one, missing counting as 1, when a set, removal, number, appended
--                                    value or the expiry made a difference; or ''
--   'keep', or 'set' or 'later' and seconds to live, 0 for ever; 'later' never shortens a life
--   perhaps, to the end of ARGV:
--     n, then n times: field, source       set to what the source holds before the change
--     n, then n times: field, most, n, then n times an integer: added to the comma-separated ones that are there,
--                                          of which the `most` largest stay, in order
-- It returns 1, or 2 when the record is not as expected, or lacks a source, and nothing was done.

local function leading_number(stored)
  if not stored then return nil end
  local sign, rest = string.match(stored, '^%s*([+-]?)(.*)$')
  local mantissa = string.match(rest, '^%d+%.?%d*') or string.match(rest, '^%.%d+')
  if not mantissa then return nil end
  local exponent = string.match(rest, '^[eE][+-]?%d+', #mantissa + 1) or ''
  local number = tonumber(sign .. mantissa .. exponent)
  if number == math.huge or number == -math.huge then return nil end
  return number
end

local function contains(list, value)
  for _, item in ipairs(list) do
    if item == value then return true end
  end
  return false
end

local function split(stored)
  local values = {}
  if stored and stored ~= '' then
    for value in string.gmatch(stored .. ',', '([^,]*),') do values[#values + 1] = value end
  end
  return values
end

-- The largest of the integers in `stored` and of `added`, at most `most`, ascending.
local function newest(stored, added, most)
  local numbers = added
  for _, text in ipairs(split(stored)) do
    if string.match(text, '^[+-]?%d+$') then numbers[#numbers + 1] = tonumber(text) end
  end
  table.sort(numbers)
  local kept = {}
  for i = math.max(1, #numbers - most + 1), #numbers do kept[#kept + 1] = string.format('%.0f', numbers[i]) end
  return table.concat(kept, ',')
end

local function change(key, at)
  local holds
  holds, at = expect_all(key, at)
  if not holds then return 2 end

  local function take()
    at = at + 1
    return ARGV[at - 1]
  end

  -- What fields hold, as far as it was asked for or has changed; false for nothing.
  local current = {}
  local function read(field)
    if current[field] == nil then current[field] = redis.call('HGET', key, field) end
    return current[field]
  end
  local function integer(field)
    local digits = read(field) and string.match(read(field), '^%s*([+-]?%d+)')
    return digits and tonumber(digits) or 0
  end

  local is_changed = {}
  local order = {}
  local function put(field, value)
    if not is_changed[field] then
      is_changed[field] = true
      order[#order + 1] = field
    end
    current[field] = value
  end
  local function put_integer(field, value)
    -- Lua would write a millisecond time as 1.7493088e+12.
    put(field, string.format('%.0f', value))
  end

  local is_revised = false
  for _ = 1, tonumber(take()) do
    local field, value = take(), take()
    if read(field) ~= value then
      put(field, value)
      is_revised = true
    end
  end
  for _ = 1, tonumber(take()) do
    local field = take()
    if read(field) then
      put(field, false)
      is_revised = true
    end
  end
  for _ = 1, tonumber(take()) do
    local field, value = take(), tonumber(take())
    if value > integer(field) then put_integer(field, value) end
  end
  for _ = 1, tonumber(take()) do
    local field, amount = take(), tonumber(take())
    put_integer(field, integer(field) + amount)
  end
  for _ = 1, tonumber(take()) do
    local field, text = take(), take()
    local number, stored = leading_number(text), leading_number(read(field))
    if number and (stored == nil or number > stored) then
      put(field, text)
      is_revised = true
    end
  end
  for _ = 1, tonumber(take()) do
    local field = take()
    local values = split(read(field))
    local before = #values
    for _ = 1, tonumber(take()) do
      local value = take()
      if not contains(values, value) then values[#values + 1] = value end
    end
    if #values > before then
      put(field, table.concat(values, ','))
      is_revised = true
    end
  end
  local revision_field, manner = take(), take()
  local ttl_seconds = manner ~= 'keep' and tonumber(take())
  -- Whether the expiry becomes another one; -1 is for ever.
  local expires_otherwise = false
  if ttl_seconds then
    local wanted_ms, left_ms = ttl_seconds == 0 and -1 or ttl_seconds * 1000, redis.call('PTTL', key)
    if manner == 'later' then
      expires_otherwise = left_ms ~= -1 and (wanted_ms == -1 or wanted_ms > left_ms)
    else
      expires_otherwise = wanted_ms ~= left_ms
    end
  end
  if ARGV[at] then
    for _ = 1, tonumber(take()) do
      local field, source = take(), take()
      local value = redis.call('HGET', key, source)
      if not value then return 2 end
      if read(field) ~= value then
        put(field, value)
        is_revised = true
      end
    end
    for _ = 1, tonumber(take()) do
      local field, most, added = take(), tonumber(take()), {}
      for i = 1, tonumber(take()) do added[i] = tonumber(take()) end
      put(field, newest(read(field), added, most))
    end
  end
  if (is_revised or expires_otherwise) and revision_field ~= '' then
    local stored = read(revision_field) and string.match(read(revision_field), '^%s*([+-]?%d+)')
    put_integer(revision_field, (stored and tonumber(stored) or 1) + 1)
  end

  -- One HSET for all: the search index takes the whole record in again at every write. It comes first:
  -- it is the step that the server refuses when memory is full, and then nothing has changed.
  local pairs_changed, removed = {}, {}
  for _, field in ipairs(order) do
    if current[field] then
      pairs_changed[#pairs_changed + 1] = field
      pairs_changed[#pairs_changed + 1] = current[field]
    else
      removed[#removed + 1] = field
    end
  end
  if #pairs_changed > 0 then redis.call('HSET', key, unpack(pairs_changed)) end
  if #removed > 0 then redis.call('HDEL', key, unpack(removed)) end

  if expires_otherwise then
    if ttl_seconds == 0 then
      redis.call('PERSIST', key)
    else
      redis.call('EXPIRE', key, ttl_seconds)
    end
  end
  return 1
end
