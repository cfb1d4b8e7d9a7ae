-- A part of other scripts, with no KEYS and ARGV of its own: links between records, see engines/links.py.
-- The links of a record are a map at prefix .. id, with a field for each other record: a score and, behind a blank,
-- the time in ms since when. All maps of one prefix lie in one slot; a script is given one of their keys.
-- measure(take) is to be called before anything is added: it takes how many links a record keeps, in which time in ms
-- a weight halves, and how many halvings are left of a link that is just about to be gone.

local most_links, half_life_ms, kept_halvings

local function measure(take)
  most_links, half_life_ms, kept_halvings = tonumber(take()), tonumber(take()), tonumber(take())
end

local function split_link(stored)
  local score, since = string.match(stored or '', '^(%S+) (%S+)$')
  return tonumber(score), since
end

-- Both weights together: log2(2^a + 2^b).
local function sum_of_scores(a, b)
  if a < b then a, b = b, a end
  return a + math.log(1 + 2 ^ (b - a)) / math.log(2)
end

-- Set or add to one end of a link; the others that the record has become too weakly linked to and loses, and what was
-- stored. The map stays as long as its strongest link.
local function link_end(prefix, id, other, score, since, now_ms, replaces)
  local key = prefix .. id
  local known, known_since = split_link(redis.call('HGET', key, other))
  score = tonumber(score)
  if known and not replaces and known > tonumber(now_ms) / half_life_ms - kept_halvings then
    score = sum_of_scores(score, known)
    if tonumber(known_since) < tonumber(since) then since = known_since end
  end
  redis.call('HSET', key, other, string.format('%.17g', score) .. ' ' .. since)

  local flat = redis.call('HGETALL', key)
  local links = {}
  for i = 1, #flat, 2 do links[#links + 1] = {other = flat[i], score = split_link(flat[i + 1]) or -math.huge} end
  table.sort(links, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return comes_before(a.other, b.other)
  end)
  local lost = {}
  for place = most_links + 1, #links do lost[#lost + 1] = links[place].other end
  if #lost > 0 then redis.call('HDEL', key, unpack(lost)) end
  local left_ms = math.floor((links[1].score + kept_halvings) * half_life_ms - tonumber(now_ms))
  redis.call('PEXPIRE', key, string.format('%.0f', left_ms))
  return lost, score, since
end

-- Set or add to a link at both of its ends, which know the same of it.
local function link(prefix, one, other, score, since, now_ms, replaces)
  local lost, sum, begun = link_end(prefix, one, other, score, since, now_ms, replaces)
  local is_lost = false
  for _, weakest in ipairs(lost) do
    if weakest == other then is_lost = true end
    redis.call('HDEL', prefix .. weakest, one)
  end
  if is_lost then return end
  lost = link_end(prefix, other, one, sum, begun, now_ms, true)
  for _, weakest in ipairs(lost) do redis.call('HDEL', prefix .. weakest, other) end
end

-- Remove a link at both of its ends; whether there was one.
local function unlink(prefix, one, other)
  return redis.call('HDEL', prefix .. one, other) + redis.call('HDEL', prefix .. other, one) > 0
end

-- Remove all links of a record, at their other ends, too. A record without links costs one look.
local function unlink_all(prefix, id)
  if redis.call('EXISTS', prefix .. id) == 0 then return end
  for _, other in ipairs(redis.call('HKEYS', prefix .. id)) do redis.call('HDEL', prefix .. other, id) end
  redis.call('DEL', prefix .. id)
end
