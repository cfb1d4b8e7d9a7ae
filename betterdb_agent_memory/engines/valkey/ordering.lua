-- A part of other scripts, with no KEYS and ARGV of its own: the order of texts.

-- By their bytes: Lua's own comparison goes by the server's locale.
local function comes_before(one, other)
  for i = 1, math.min(#one, #other) do
    local a, b = one:byte(i), other:byte(i)
    if a ~= b then return a < b end
  end
  return #one < #other
end
