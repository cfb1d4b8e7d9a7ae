-- A part of other scripts, with no KEYS and ARGV of its own; touches only the key it is given.
-- store(key, at, last) stores a record whole, with its expiry, in one atomic step. It reads from ARGV:
--   at       EXPIRE, PEXPIREAT or '' for ever
--   at + 1   the seconds, or the milliseconds since the epoch, that go with it
--   at + 2   up to `last`: field, value, field, value ...
-- It returns nil, or the server's error when the expiry was refused (then no record is left).

local function store(key, at, last)
  local expiry_command = ARGV[at]
  local pairs_given = {}
  local given = {}
  for i = at + 2, last do
    pairs_given[i - at - 1] = ARGV[i]
    if (i - at) % 2 == 0 then given[ARGV[i]] = true end
  end

  -- HSET comes first: it is the step that the server refuses when memory is full, and then nothing
  -- has changed. (After a DEL it would no longer be refused.)
  local stale = {}
  local existing = redis.call('HKEYS', key)
  for _, name in ipairs(existing) do
    if not given[name] then stale[#stale + 1] = name end
  end
  redis.call('HSET', key, unpack(pairs_given))
  if #stale > 0 then redis.call('HDEL', key, unpack(stale)) end

  if expiry_command ~= '' then
    local expiry = redis.pcall(expiry_command, key, ARGV[at + 1])
    if type(expiry) == 'table' and expiry.err then
      -- A record never stays without the expiry it was given.
      redis.call('DEL', key)
      return expiry
    end
  elseif #existing > 0 then
    redis.call('PERSIST', key)
  end
  return nil
end
