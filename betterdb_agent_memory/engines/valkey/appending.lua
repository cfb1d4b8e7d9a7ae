-- A part of other scripts, with no KEYS and ARGV of its own; touches only the log it is given.
-- append(log, max_entries, max_age_ms, fields) adds an entry to a log that is there: its time is the server's, never
-- before that of the one before, and its number one more. Of what is older than max_age_ms ('' for any age) and of
-- more than max_entries whole blocks of the stream are trimmed.
-- It returns the entry's position, or nil where there is no log.

local function append(log, max_entries, max_age_ms, fields)
  local info = redis.pcall('XINFO', 'STREAM', log)
  if info.err then return nil end
  local last
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  local last_ms, last_number = string.match(last, '^(%d+)-(%d+)$')
  local now = redis.call('TIME')
  local now_ms = math.max(now[1] * 1000 + math.floor(now[2] / 1000), tonumber(last_ms))
  -- Lua would write a millisecond time as 1.7493088e+12.
  local position = string.format('%.0f-%.0f', now_ms, tonumber(last_number) + 1)
  redis.call('XADD', log, position, unpack(fields))
  redis.call('XTRIM', log, 'MAXLEN', '~', max_entries)
  if max_age_ms ~= '' then
    redis.call('XTRIM', log, 'MINID', '~', string.format('%.0f', math.max(0, now_ms - tonumber(max_age_ms))))
  end
  return position
end
