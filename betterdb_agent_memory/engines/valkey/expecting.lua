-- A part of other scripts, with no KEYS and ARGV of its own.
-- expect_all(key, at) reads from ARGV, beginning at index `at`:
--   a number n, then n times: field, '1' and a value that it must have, or '0' and '' for none
-- It returns whether the hash at `key` is so, and the index behind what it has read.

local function expect_all(key, at)
  local holds = true
  local behind = at + 1 + 3 * tonumber(ARGV[at])
  for i = at + 1, behind - 1, 3 do
    local stored = redis.call('HGET', key, ARGV[i])
    if ARGV[i + 1] == '1' then
      holds = holds and stored == ARGV[i + 2]
    else
      holds = holds and not stored
    end
  end
  return holds, behind
end
