-- Store a record whole, with its expiry, in one atomic step; or change the one that is there.
-- KEYS, ARGV     first those of beside.lua; behind them, counted from there:
-- ARGV[1]        '' to replace what is there; or a field every whole record has: where it exists, the record
--                is changed instead
-- ARGV[2]        how many arguments about storing follow
-- ARGV[3..]      what to store, see storing.lua
-- behind that    with ARGV[1] the change, see changing.lua
-- Returns 3 where the record was stored, 1 where it was changed, 2 where it is not as expected, LOST; with groups a
-- list of that and what `stored` in beside.lua adds.

if beside.is_lost then return LOST end
local at = beside.next
local last = at + 1 + tonumber(ARGV[at + 1])
local before = group_now()
if ARGV[at] ~= '' and redis.call('HEXISTS', KEYS[1], ARGV[at]) == 1 then
  local outcome = change(KEYS[1], last + 1)
  if outcome ~= 1 then return outcome end
  return stored(outcome, before, false)
end
return store(KEYS[1], at + 2, last) or stored(3, before, true)
