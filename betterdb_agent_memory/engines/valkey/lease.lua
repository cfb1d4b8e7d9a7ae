-- Take, keep or give back a lease.
-- KEYS[1]  the lease: a hash of owner, token and until_ms. It outlives every lease, so that tokens only grow,
--          unless it was borrowed: then it expires with the lease, and is gone when that is given back.
-- ARGV[1]  acquire, borrow, renew or release
-- ARGV[2]  the owner
-- ARGV[3]  milliseconds to hold it for, from now by the server's clock
-- Returns the owner's token, or 0 when the lease is (acquire: still) somebody else's, or over.

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local stored = redis.call('HMGET', KEYS[1], 'owner', 'token', 'until_ms')
local token = tonumber(stored[2] or 0)
local is_held = stored[1] and tonumber(stored[3] or 0) > now_ms
local is_own = is_held and stored[1] == ARGV[2]

local is_borrowed = ARGV[1] == 'borrow' or redis.call('PTTL', KEYS[1]) >= 0

if ARGV[1] == 'release' then
  if is_own and is_borrowed then
    redis.call('DEL', KEYS[1])
  elseif is_own then
    redis.call('HDEL', KEYS[1], 'owner', 'until_ms')
  end
  return is_own and token or 0
end
if not is_own then
  if ARGV[1] == 'renew' or is_held then return 0 end
  token = token + 1
end
redis.call('HSET', KEYS[1],
  'owner', ARGV[2], 'token', token, 'until_ms', string.format('%.0f', now_ms + tonumber(ARGV[3])))
if is_borrowed then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return token
