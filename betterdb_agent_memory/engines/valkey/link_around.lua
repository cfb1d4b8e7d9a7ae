-- The links of some records, and where that is too little of those that they are linked to most strongly.
-- KEYS[1]  the key of a record's links
-- ARGV[1]  what the keys of links begin with
-- ARGV[2]  the least score of a link that counts
-- ARGV[3]  how many of the strongest of each record are followed
-- ARGV[4]  how many others these must lead to so as to be enough
-- ARGV[5]  how many do not count, behind it these, and then the records
-- Returns a list for each record that was looked at: its id, and the others and what is stored of them in turn.

local prefix, least, followed, enough = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local first = 6 + tonumber(ARGV[5])
local seen, answer, next_ones = {}, {}, {}

local function look(id, follows)
  if seen[id] then return end
  seen[id] = true
  local flat = redis.call('HGETALL', prefix .. id)
  local found, links = {id}, {}
  for i = 1, #flat, 2 do
    local score = split_link(flat[i + 1])
    if score and score >= least then
      found[#found + 1] = flat[i]
      found[#found + 1] = flat[i + 1]
      links[#links + 1] = {other = flat[i], score = score}
    end
  end
  answer[#answer + 1] = found
  if not follows then return end
  table.sort(links, function(a, b)
    if a.score ~= b.score then return a.score > b.score end
    return comes_before(a.other, b.other)
  end)
  for place = 1, math.min(followed, #links) do next_ones[#next_ones + 1] = links[place].other end
end

for i = first, #ARGV do look(ARGV[i], true) end
local counted, others = {}, 0
for i = 6, first - 1 do counted[ARGV[i]] = true end
for _, id in ipairs(next_ones) do
  if not seen[id] and not counted[id] then counted[id], others = true, others + 1 end
end
if others < enough then
  for _, id in ipairs(next_ones) do look(id, false) end
end
return answer
