-- A part of other scripts, with no KEYS and ARGV of its own: activation spreads along links, see engines/spreading.py.
-- Every formula is computed in the order in which memory/recalling/expanding.py does, so that both come to the same.
-- `said` is what to go by: keys of links begin with link_prefix, those of records with record_prefix; half_life_ms, and
-- starts, followed, looked_at, most, strength, passed_on, least_weight, now_ms; whole, a field that every record has;
-- names and values of the fields that must equal these.

-- The links of a record that count: {id, weight}, the strongest first.
local function counting_links(said, id)
  local flat = redis.call('HGETALL', said.link_prefix .. id)
  local links, now, least, match = {}, said.now_ms / said.half_life_ms, said.least_weight, string.match
  for i = 1, #flat, 2 do
    local score = tonumber(match(flat[i + 1], '^%S+'))
    local weight = score and 2 ^ (score - now)
    if weight and weight >= least then links[#links + 1] = {flat[i], weight} end
  end
  if #links > 1 then
    table.sort(links, function(a, b)
      if a[2] ~= b[2] then return a[2] > b[2] end
      return comes_before(a[1], b[1])
    end)
  end
  return links
end

-- What comes to which record over one link or, where it is to go far, two: a list in any order of
-- {id, what is left undone, start, via, weight}.
local function activated(said, starts, around, goes_far, is_hidden)
  local active, undone, best, order = {}, {}, {}, {}
  for _, start in ipairs(starts) do active[start[1]] = true end

  local function links_of(id)
    if not around[id] then around[id] = counting_links(said, id) end
    return around[id]
  end
  local strength, passed_on, followed = said.strength, said.passed_on, said.followed
  -- What comes to a link before its weight counts.
  local function shared(activation, fan)
    return activation * passed_on * math.max(strength - math.log(fan), 0) / strength
  end
  local function reach(id, weight, gain, start, via)
    if active[id] or is_hidden[id] or not (gain > 0) then return end
    if not undone[id] then
      undone[id] = 1
      order[#order + 1] = id
    end
    undone[id] = undone[id] * (1 - gain)
    if not best[id] or gain > best[id][1] then best[id] = {gain, start, via, weight} end
  end

  for _, start in ipairs(starts) do
    local ends = links_of(start[1])
    local to_each = shared(start[2], #ends)
    for n = 1, math.min(followed, #ends) do
      local id, weight = ends[n][1], ends[n][2]
      local gain = to_each * weight / (1 + weight)
      reach(id, weight, gain, start[1], '')
      if goes_far and not active[id] and not is_hidden[id] then
        local further = links_of(id)
        local to_these = shared(gain, #further)
        for m = 1, math.min(followed, #further) do
          local one = further[m]
          reach(one[1], one[2], to_these * one[2] / (1 + one[2]), start[1], id)
        end
      end
    end
  end
  local list = {}
  for n, id in ipairs(order) do list[n] = {id, undone[id], best[id][2], best[id][3], best[id][4]} end
  return list
end

local function is_more_active(one, other)
  if one[2] ~= other[2] then return one[2] < other[2] end
  return comes_before(one[1], other[1])
end

-- Take the most active one out of a list; nil where it is empty. A few are wanted: to sort all would take longer.
local function take_most_active(list)
  local best = 1
  for n = 2, #list do
    if is_more_active(list[n], list[best]) then best = n end
  end
  local one = list[best]
  list[best] = list[#list]
  list[#list] = nil
  return one
end

-- Whether a record is whole and as it must be; whether it is there at all.
local function accepted(said, id)
  local key = said.record_prefix .. id
  local stored = redis.call('HMGET', key, said.whole, unpack(said.names))
  if not stored[1] then return false, redis.call('EXISTS', key) == 1 end
  for n = 1, #said.names do
    if stored[n + 1] ~= said.values[n] then return false, true end
  end
  return true, true
end

-- What is reached from the `starts`, {id, activation} each, beside the `found`, as `activated` lists it; and the ids of
-- records that are gone. It goes one link far, and two where one leads to fewer than are wanted.
local function spread(said, starts, found)
  local around, gone, is_hidden, fits = {}, {}, {}, {}

  local function is_accepted(id)
    if fits[id] == nil then
      local is_there
      fits[id], is_there = accepted(said, id)
      if not is_there then gone[#gone + 1] = id end
    end
    return fits[id]
  end
  -- The most active first, only as many are looked at as are needed.
  local function chosen_of(list)
    local chosen = {}
    while #chosen < said.most and #list > 0 do
      local one = take_most_active(list)
      if not found[one[1]] and is_accepted(one[1]) then chosen[#chosen + 1] = one end
    end
    return chosen
  end

  local near = chosen_of(activated(said, starts, around, false, is_hidden))
  if #near == said.most then return near, gone end
  local list, others, hides = activated(said, starts, around, true, is_hidden), {}, false
  for _, one in ipairs(list) do
    if not found[one[1]] then others[#others + 1] = one end
  end
  if #others > said.looked_at then table.sort(others, is_more_active) end
  for n, one in ipairs(others) do
    -- A record that is not accepted hides itself and what lies behind it. What links lead on from was asked for its own.
    if n > said.looked_at or (around[one[1]] and not is_accepted(one[1])) then is_hidden[one[1]], hides = true, true end
  end
  return chosen_of(hides and activated(said, starts, around, true, is_hidden) or list), gone
end
