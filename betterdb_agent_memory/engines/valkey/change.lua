-- Change a record, only where it still exists.
-- KEYS, ARGV  first those of beside.lua; behind them, counted from there:
-- ARGV[1]     a field every whole record has: without it the key is gone, or only a fragment
-- ARGV[2..]   the change, see changing.lua
-- Returns 0 where there was no record, 1 where it was changed, 2 where it is not as expected, LOST; with groups a
-- list of 1 and what `stored` in beside.lua adds.

if beside.is_lost then return LOST end
local at = beside.next
if redis.call('HEXISTS', KEYS[1], ARGV[at]) == 0 then return 0 end
local before = group_now()
local outcome = change(KEYS[1], at + 1)
if outcome ~= 1 then return outcome end
return stored(outcome, before, false)
