-- Store one record whole, with its expiry, in one atomic step.
-- KEYS[1]   the record
-- ARGV[1]   seconds to live, 0 for ever
-- ARGV[2..] field, value, field, value ...
-- Returns 1.

local key = KEYS[1]
local ttl_seconds = tonumber(ARGV[1])
local pairs_given = {}
local given = {}
for i = 2, #ARGV do
  pairs_given[i - 1] = ARGV[i]
  if i % 2 == 0 then given[ARGV[i]] = true end
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

if ttl_seconds > 0 then
  local expiry = redis.pcall('EXPIRE', key, ARGV[1])
  if type(expiry) == 'table' and expiry.err then
    -- A record never stays without the expiry it was given.
    redis.call('DEL', key)
    return expiry
  end
elseif #existing > 0 then
  redis.call('PERSIST', key)
end
return 1
