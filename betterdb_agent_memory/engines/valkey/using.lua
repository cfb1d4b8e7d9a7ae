-- A part of other scripts, with no KEYS and ARGV of its own: what uses add to the worth of a record, see `Uses` in
-- engines/uses.py. level_by(list, now) takes a list of texts: the decay, the share of a use that an access is, the trust
-- that records have without a label; the names of the count of accesses, of their last times, of the uses that helped,
-- of the trust and of the label, and of the times of writing and of the last access; then labels and their trusts in
-- turn. It returns a function that computes the level of a record's uses and the doubt, nil where a number is none. Who
-- knows the two times tells it, so that they are not read again.

local function level_by(list, now)
  local decay, share, usual = tonumber(list[1]), tonumber(list[2]), tonumber(list[3])
  local count_name, times_name, helped_name, trust_name, label_name = list[4], list[5], list[6], list[7], list[8]
  local created_name, accessed_name, trusts = list[9], list[10], {}
  for i = 11, #list, 2 do trusts[list[i]] = tonumber(list[i + 1]) end
  local sqrt, max, min, log, is_root = math.sqrt, math.max, math.min, math.log, decay == 0.5

  local function age_of(at_ms)
    local age = (now - at_ms) / 1000
    return age > 0.001 and age or 0.001
  end
  local function power(age)
    if is_root then return 1 / sqrt(age) end
    return age ^ -decay
  end
  -- The mean of t^-decay over the ages from `since` to `till`.
  local function mean_power(since, till)
    if is_root then return 2 / (sqrt(since) + sqrt(till)) end
    local longer, rest = till / since - 1, 1 - decay
    -- The difference of nearly equal numbers would be mostly rounding: there the first terms of its series.
    if longer < 1e-3 then
      local term, mean = 1, 1
      for n = 1, 6 do
        term = term * (rest - n) / (n + 1) * longer
        mean = mean + term
      end
      return power(since) * mean
    end
    return power(since) * ((1 + longer) ^ rest - 1) / (rest * longer)
  end
  local function sum_by_last(age, last, count)
    return power(last) + count * mean_power(last, max(age, last))
  end
  local function sum_by_recent(age, last, count, ages)
    local total, newest, oldest, known = power(age), math.huge, 0, #ages
    for n = 1, known do
      local one = ages[n]
      total, newest, oldest = total + power(one), min(newest, one), max(oldest, one)
    end
    if last < newest - 0.5 and count > 0 then
      total, oldest, known = total + power(last), max(oldest, last), known + 1
    end
    return total + max(count - known, 0) * mean_power(oldest, max(age, oldest))
  end
  -- As written by a program; nil for anything else and for what is too large, 0 where there is nothing.
  local function number(text)
    if not text then return 0 end
    local value = not text:find('[^%d%.eE+-]') and tonumber(text)
    return value and max(value, -value) < math.huge and value or nil
  end
  -- The ages of one to four times with commas between them; nil for anything else.
  local function ages_of(text)
    local ages, size = {}, -1
    for _, at_ms in ipairs({text:match('^(%d+),?(%d*),?(%d*),?(%d*)$')}) do
      if at_ms == '' then break end
      if #at_ms > 18 then return nil end
      ages[#ages + 1] = age_of(tonumber(at_ms))
      size = size + 1 + #at_ms
    end
    return size == #text and ages or nil
  end

  return function(key, created, accessed)
    local counted, times, helpful, trusted, label
    if created then
      counted, times, helpful, trusted, label = unpack(redis.call('HMGET', key, count_name, times_name, helped_name,
        trust_name, label_name))
    else
      counted, times, helpful, trusted, label, created, accessed = unpack(redis.call('HMGET', key, count_name, times_name,
        helped_name, trust_name, label_name, created_name, accessed_name))
      created, accessed = created and number(created), accessed and number(accessed)
      if not (created and accessed) then return nil end
    end
    local count, helped, trust = number(counted), number(helpful), number(trusted)
    if not (count and helped and trust) then return nil end
    local age = age_of(created)
    local last = min(age_of(accessed), age)
    local written = power(age)
    local recalled
    if times then
      local ages = ages_of(times)
      if not ages then return nil end
      recalled = sum_by_recent(age, last, count, ages)
    else
      recalled = sum_by_last(age, last, count)
    end
    local total = (1 - share) * written + share * recalled
    -- More than can be told of a record: a number that is damaged.
    helped = min(helped, 1e12)
    if helped > 0 then
      total = total + min(helped, 1) * (sum_by_last(age, last, max(helped, 1)) - written)
    end
    local doubt = 0
    if trusted then doubt = 1 - max(0, min(trust / (trusts[label or ''] or usual), 1)) end
    return log(total), doubt
  end
end
