-- A part of other scripts, with no KEYS and ARGV of its own: what uses add to the worth of a record, see `Uses` in
-- engines/base.py. level_by(list, now) takes a list of texts: the decay, the share of a use that an access is, the
-- weight of doubt, the trust that records have without a label; the names of the count of accesses, of their last
-- times, of the uses that helped, of the trust and of the label; then labels and their trusts in turn. It returns a
-- function that computes what uses add; nil where a number is none.

local function level_by(list, now)
  local decay, share, by_doubt, usual = tonumber(list[1]), tonumber(list[2]), tonumber(list[3]), tonumber(list[4])
  local names, trusts = {list[5], list[6], list[7], list[8], list[9]}, {}
  for i = 10, #list, 2 do trusts[list[i]] = tonumber(list[i + 1]) end

  local function age_of(at_ms) return math.max((now - at_ms) / 1000, 0.001) end
  local function power(age)
    if decay == 0.5 then return 1 / math.sqrt(age) end
    return age ^ -decay
  end
  -- The mean of t^-decay over the ages from `since` to `till`.
  local function mean_power(since, till)
    if decay == 0.5 then return 2 / (math.sqrt(since) + math.sqrt(till)) end
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
    return power(last) + count * mean_power(last, math.max(age, last))
  end
  local function sum_by_recent(age, last, count, times)
    local total, newest, oldest = power(age), math.huge, 0
    for _, at_ms in ipairs(times) do
      local one = age_of(at_ms)
      total, newest, oldest = total + power(one), math.min(newest, one), math.max(oldest, one)
    end
    local known = #times
    if last < newest - 0.5 and count > 0 then
      total, oldest, known = total + power(last), math.max(oldest, last), known + 1
    end
    return total + math.max(count - known, 0) * mean_power(oldest, math.max(age, oldest))
  end
  -- As written by a program; nil for anything else, 0 where there is nothing.
  local function number(text)
    if not text then return 0 end
    return not text:find('[^%d%.eE+-]') and tonumber(text) or nil
  end

  return function(key, created, accessed)
    local stored = redis.call('HMGET', key, unpack(names))
    local count, helped = number(stored[1]), number(stored[3])
    local trust = number(stored[4])
    if not (count and helped and trust) then return nil end
    local age = age_of(created)
    local last = math.min(age_of(accessed), age)
    local written = power(age)
    local recalled
    if stored[2] then
      if stored[2]:find('[^%d,]') or (',' .. stored[2] .. ','):find(',,', 1, true) then return nil end
      local times = {}
      for text in stored[2]:gmatch('[^,]+') do times[#times + 1] = tonumber(text) end
      if #times > 4 then return nil end
      recalled = sum_by_recent(age, last, count, times)
    else
      recalled = sum_by_last(age, last, count)
    end
    local total = (1 - share) * written + share * recalled
    helped = math.max(helped, 0)
    if helped > 0 then
      total = total + math.min(helped, 1) * (sum_by_last(age, last, math.max(helped, 1)) - written)
    end
    local doubt = 0
    if stored[4] then doubt = 1 - math.max(0, math.min(trust / (trusts[stored[5] or ''] or usual), 1)) end
    return math.log(total) - by_doubt * doubt
  end
end
