-- The first part of every script that writes, changes or deletes one record: what goes with it in the same step.
-- KEYS[1]    the record
-- KEYS[2..]  one key for each capital letter of ARGV[1], in their order
-- ARGV[1]    letters that say what there is beside the record, each with arguments of its own from ARGV[2] on:
--   F  a lease:            the token that it must still have
--   f  no key:             a field of the record and a token; a record with a larger one is of a later holder
--   G  the map of counts:  the record's id, n, the n fields whose values make its group, and how many of these, the
--                          last ones, hold comma-separated values
--   g  no key:             the same, where that map is elsewhere: the groups are part of the answer
--   C  a map:              its field that goes up by one when a record is deleted
--   L  a log:              how many entries it keeps, how old they may be in ms ('' for any age), and three lists, each
--                          behind its length: fields and values in turn of the entry about a record that is stored or
--                          deleted, the same for one that is changed, and fields that the entry has of the record
--   K  its links:          how many bytes at the end of that key are the record's id: they go with a deleted record
--   N  its links:          the same, the time in ms now, what links are measured by (linking.lua), what the keys of other
--                          records begin with, and n, then n times: the id of one, a score and the time in ms since when:
--                          what the links to these gain where the record is changed
-- To keep something else beside the records, add a letter here, read its arguments in the loop, and do it in
-- `stored` (a record was stored or changed) or `deleted`.
-- beside.next is the index of the first argument behind these; a script answers LOST if beside.is_lost, and does nothing.

local LOST = 4
local beside = {next = 2, is_lost = false}

do
  local key_index = 1
  local function take()
    beside.next = beside.next + 1
    return ARGV[beside.next - 1]
  end
  local function take_key()
    key_index = key_index + 1
    return KEYS[key_index]
  end
  local function take_group()
    beside.id = take()
    beside.group_fields = {}
    for i = 1, tonumber(take()) do beside.group_fields[i] = take() end
    beside.group_sets = tonumber(take())
  end

  local function take_list()
    local list = {}
    for i = 1, tonumber(take()) do list[i] = take() end
    return list
  end

  local function take_links()
    local key, size = take_key(), tonumber(take())
    beside.links, beside.links_id = string.sub(key, 1, -size - 1), string.sub(key, -size)
  end

  local function take_gains()
    local gains = {}
    for i = 1, tonumber(take()) do gains[i] = {other = take(), score = take(), since = take()} end
    return gains
  end

  for letter in string.gmatch(ARGV[1], '.') do
    if letter == 'F' then
      if redis.call('HGET', take_key(), 'token') ~= take() then beside.is_lost = true end
    elseif letter == 'f' then
      local holder = redis.call('HGET', KEYS[1], take())
      local token = tonumber(take())
      if holder and (tonumber(holder) or 0) > token then beside.is_lost = true end
    elseif letter == 'G' then
      beside.counts_key = take_key()
      take_group()
    elseif letter == 'g' then
      take_group()
    elseif letter == 'C' then
      beside.counter_key, beside.counter_field = take_key(), take()
    elseif letter == 'L' then
      beside.log_key, beside.log_entries, beside.log_age_ms = take_key(), take(), take()
      beside.said, beside.said_if_changed, beside.copied = take_list(), take_list(), take_list()
      beside.copies = redis.call('HMGET', KEYS[1], unpack(beside.copied))
    elseif letter == 'K' then
      take_links()
    elseif letter == 'N' then
      take_links()
      beside.now_ms = take()
      measure(take)
      beside.records, beside.gains = take(), take_gains()
    end
  end
end

-- Comma-separated values, each once and in order; false where there are none.
local function set_of(stored)
  if not stored or stored == '' then return false end
  local values, seen = {}, {}
  for value in string.gmatch(stored .. ',', '([^,]*),') do
    if not seen[value] then
      seen[value] = true
      values[#values + 1] = value
    end
  end
  table.sort(values, comes_before)
  return table.concat(values, ',')
end

-- The name of the group of the record at `key`, or KEYS[1], as it is now, see engines/groups.py; nil where no groups are
-- asked for.
local function group_now(key)
  if not beside.group_fields then return nil end
  local values = redis.call('HMGET', key or KEYS[1], unpack(beside.group_fields))
  for i = 1, #beside.group_fields do
    if i > #beside.group_fields - beside.group_sets then values[i] = set_of(values[i]) end
    values[i] = values[i] and (#values[i] .. ':' .. values[i]) or '-'
  end
  return table.concat(values)
end

local function leave(group)
  -- Nothing is kept of a group that nobody is in.
  if redis.call('HEXISTS', beside.counts_key, group) == 1
    and redis.call('HINCRBY', beside.counts_key, group, -1) <= 0 then
    redis.call('HDEL', beside.counts_key, group, '@' .. group, '~' .. group)
  end
end

-- Tell in the log what was done; beside.copies is what the record holds, or held.
local function announce(said)
  for i, value in ipairs(beside.copied) do
    if beside.copies[i] then
      said[#said + 1] = value
      said[#said + 1] = beside.copies[i]
    end
  end
  append(beside.log_key, beside.log_entries, beside.log_age_ms, said)
end

-- A record that was of the group `before` has been stored whole, or only changed; the script's answer.
local function stored(outcome, before, is_whole)
  if beside.log_key then
    beside.copies = redis.call('HMGET', KEYS[1], unpack(beside.copied))
    announce(is_whole and beside.said or beside.said_if_changed)
  end
  for _, gain in ipairs(beside.gains or {}) do
    if redis.call('EXISTS', beside.records .. gain.other) == 1 then
      link(beside.links, beside.links_id, gain.other, gain.score, gain.since, beside.now_ms, false)
    end
  end
  if not beside.group_fields then return outcome end
  local after = group_now()
  if not beside.counts_key then return {outcome, before, after} end
  if before ~= after then leave(before) end
  -- Also where nobody counts yet: whoever begins to wants to know it.
  if is_whole or before ~= after then redis.call('HSET', beside.counts_key, '@' .. after, beside.id) end
  local size = redis.call('HEXISTS', beside.counts_key, after) == 1
    and redis.call('HINCRBY', beside.counts_key, after, before == after and 0 or 1)
  -- Who stores a record knows its group.
  return is_whole and {outcome, size} or {outcome, size, after}
end

-- A record that was of the group `before` has been deleted; the script's answer.
local function deleted(before)
  if beside.links then unlink_all(beside.links, beside.links_id) end
  if beside.log_key then announce(beside.said) end
  if beside.counter_key then redis.call('HINCRBY', beside.counter_key, beside.counter_field, 1) end
  if not beside.group_fields then return 1 end
  if not beside.counts_key then return {1, before} end
  leave(before)
  return 1
end
