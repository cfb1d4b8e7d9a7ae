-- Delete a record that is as expected.
-- KEYS, ARGV  first those of beside.lua; behind them what is expected, see expecting.lua
-- Returns how many there were: 1 or 0, or LOST; with groups what `deleted` in beside.lua answers.

if beside.is_lost then return LOST end
if not expect_all(KEYS[1], beside.next) then return 0 end
local before = group_now()
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
return deleted(before)
