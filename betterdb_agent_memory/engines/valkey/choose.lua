-- Search by vector, and return of the neighbours found only the worthiest, whole.
-- KEYS[1]      the index
-- ARGV[1]      prefix of the keys of records
-- ARGV[2]      how many neighbours are wanted
-- ARGV[3]      the largest distance of one that is wanted
-- ARGV[4..6]   weights of likeness, of value and of freshness
-- ARGV[7..8]   now in ms, half-life in seconds
-- ARGV[9]      1 if nothing is fresher than now
-- ARGV[10..12] what the answer calls the value and two times in ms
-- ARGV[13]     how many fields must equal a value; behind it these values
-- behind that  four lists, each behind its length: what to go by of uses (the weight of doubt, and behind it what
--              using.lua says; empty where they count nothing), how activation spreads (empty where it does not: what keys of links begin with, the half-life
--              of links in ms, starts, followed, looked_at, most, strength, passed_on, least_weight, now_ms, the field
--              that no start may have, one that every record has, the vector, the names of the fields that must equal
--              a value), the fields to return, and FT.SEARCH without its index, asking for the distance, the value, the
--              two times and the fields that are compared, in this order
-- Returns how many were found, how many of them lie outside, how many have expired, how many are related, the nearest
-- inside, the farthest of all, how many are chosen; then of each chosen one its id, its distance, where uses
-- count their level and the doubt, how many values follow, and these: those of the fields up to the last one that it has. Also chosen is what is worth all but as much
-- as the last one: a search rounds numbers to twelve digits. Where activation spread: the ids of how many records that
-- are gone, these, and of each one reached its id, where activation came from, through what, the weight of the last
-- link, its activation, level, doubt and values as before, the vector behind the fields; level and doubt are empty
-- where they cannot be said. False where a row is not as all others
-- are, so that it had better be looked at with more care.

local prefix, wanted, threshold = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local by_likeness, by_value, by_freshness = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local now, half_life, clamps = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1'
local distance_field, value_field, time_field, other_time_field = '__score', ARGV[10], ARGV[11], ARGV[12]

local at = 13
local function list(into)
  local last = at + tonumber(ARGV[at])
  for i = at + 1, last do into[#into + 1] = ARGV[i] end
  at = last + 1
  return into
end
local equal, using, spreading, fields, search = list({}), list({}), list({}), list({}), list({'FT.SEARCH', KEYS[1]})
local width, rounding = 8 + 2 * #equal, 1e-11
local by_doubt = #using > 0 and tonumber(table.remove(using, 1))
local level = by_doubt and level_by(using, now)

local found = redis.call(unpack(search))
local rows, outside, gone, largest = {}, 0, 0, 0
local nearest, farthest, nearest_text, farthest_text = math.huge, -math.huge, '', ''
for i = 2, #found, 2 do
  local row = found[i + 1]
  if not row then
    gone = gone + 1
  else
    -- As asked for: the distance, the value, the two times, what is compared, each behind its name.
    if #row ~= width or row[1] ~= distance_field or row[3] ~= value_field then return false end
    if row[5] ~= time_field or row[7] ~= other_time_field then return false end
    -- As written by a program: tonumber alone takes hexadecimal numbers and blanks, too.
    if (row[4] .. row[6] .. row[8]):find('[^%d%.eE+-]') then return false end
    local distance, value, created, accessed = tonumber(row[2]), tonumber(row[4]), tonumber(row[6]), tonumber(row[8])
    if not (distance and value and created and accessed) or distance ~= distance then return false end
    if distance > farthest then farthest, farthest_text = distance, row[2] end
    local is_inside = true
    for n = 1, #equal do
      if row[8 + 2 * n] ~= equal[n] then is_inside = false end
    end
    if not is_inside then
      outside = outside + 1
    else
      if distance < nearest then nearest, nearest_text = distance, row[2] end
      if distance <= threshold then
        local age = (now - math.max(created, accessed)) / 1000
        if clamps and age < 0 then age = 0 end
        -- A term without weight is left out: nothing times an infinite one would be no number.
        local fresh = by_freshness == 0 and 0 or by_freshness * 2 ^ (-age / half_life)
        local worth = by_likeness * (1 - distance / 2) + fresh + by_value * value
        local used, doubt
        if level then
          used, doubt = level(found[i], created, accessed)
          -- Nothing can be said of its uses.
          if not used then return false end
          worth = worth + used - by_doubt * doubt
        end
        if worth ~= worth or math.abs(worth) == math.huge then return false end
        largest = math.max(largest, math.abs(value))
        rows[#rows + 1] = {worth, found[i], row[2], created, used, doubt}
      end
    end
  end
end
table.sort(rows, function(one, other)
  if one[1] ~= other[1] then return one[1] > other[1] end
  if one[4] ~= other[4] then return one[4] > other[4] end
  return comes_before(one[2], other[2])
end)

-- One list of texts, for which clients are fastest.
local answer = {tostring((#found - 1) / 2), tostring(outside), tostring(gone), tostring(#rows)}
answer[5], answer[6], answer[7] = nearest_text, farthest_text, '0'
local last = rows[math.min(wanted, #rows)]
local least = last and last[1] - rounding * (1 + math.abs(last[1]) + by_value * largest)

local function tell_of_uses(used, doubt)
  answer[#answer + 1] = used and string.format('%.17g', used) or ''
  answer[#answer + 1] = used and string.format('%.17g', doubt) or ''
end

-- Those of the values up to the last one that there is.
local function tell(key, names)
  local values, present = redis.call('HMGET', key, unpack(names)), #names
  while present > 0 and not values[present] do present = present - 1 end
  answer[#answer + 1] = tostring(present)
  for j = 1, present do answer[#answer + 1] = values[j] end
end

local chosen = {}
for i = 1, #rows do
  if rows[i][1] < least then break end
  local key = rows[i][2]
  local id = key:sub(#prefix + 1)
  if key:sub(1, #prefix) ~= prefix or id:find(':', 1, true) then return false end
  chosen[i] = id
  answer[#answer + 1] = id
  answer[#answer + 1] = rows[i][3]
  if level then tell_of_uses(rows[i][5], rows[i][6]) end
  tell(key, fields)
end
answer[7] = tostring(#chosen)
if #spreading == 0 then return answer end

local said = {
  link_prefix = spreading[1], record_prefix = prefix, half_life_ms = tonumber(spreading[2]),
  followed = tonumber(spreading[4]), looked_at = tonumber(spreading[5]), most = tonumber(spreading[6]),
  strength = tonumber(spreading[7]), passed_on = tonumber(spreading[8]), least_weight = tonumber(spreading[9]),
  now_ms = tonumber(spreading[10]), whole = spreading[12], names = {}, values = equal,
}
for i = 14, #spreading do said.names[#said.names + 1] = spreading[i] end
local starts, are_found = {}, {}
for i = 1, math.min(wanted, #chosen) do
  are_found[chosen[i]] = true
  if i <= tonumber(spreading[3]) then
    if redis.call('HEXISTS', rows[i][2], spreading[11]) == 1 then return answer end
    starts[i] = {chosen[i], 1 - tonumber(rows[i][3]) / 2}
  end
end
local reached, gone = spread(said, starts, are_found)
answer[#answer + 1] = tostring(#gone)
for _, id in ipairs(gone) do answer[#answer + 1] = id end
fields[#fields + 1] = spreading[13]
for _, one in ipairs(reached) do
  answer[#answer + 1] = one[1]
  answer[#answer + 1] = one[3]
  answer[#answer + 1] = one[4]
  answer[#answer + 1] = string.format('%.17g', one[5])
  answer[#answer + 1] = string.format('%.17g', 1 - one[2])
  if level then tell_of_uses(level(prefix .. one[1])) end
  tell(prefix .. one[1], fields)
end
return answer
