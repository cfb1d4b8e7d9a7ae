-- Note what a log keeps, where nothing is noted.
-- KEYS[1]  what is noted of the log: a hash of begun_ms, max_entries, max_age_ms and a field for each group
-- ARGV[1]  how many entries it keeps
-- ARGV[2]  how old they may be in ms, or '' for any age
-- Returns 1 where it was noted, 0 where something was.

if redis.call('HEXISTS', KEYS[1], 'begun_ms') == 1 then return 0 end
local now = redis.call('TIME')
local begun_ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('HSET', KEYS[1], 'begun_ms', begun_ms, 'max_entries', ARGV[1], 'max_age_ms', ARGV[2])
return 1
