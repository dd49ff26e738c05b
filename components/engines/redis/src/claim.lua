-- Sets KEYS[1] to ARGV[2] if it is below ARGV[1] or missing; both are integers of 0 or more in plain digits.
-- Returns nil if it did, otherwise the value of the key. Compares digits, because Lua's numbers are
-- doubles, which are not exact above 2^53.
local have, first = redis.call('GET', KEYS[1]), ARGV[1]
local below = not have or (#have <= 20 and have:find('^%-[1-9]%d*$'))
if not below then
  if not have:find('^%d+$') or (#have > 1 and have:byte(1) == 48) or #have > #first then
    return have
  end
  below = #have < #first
  for i = 1, below and 0 or #first do
    local h, f = have:byte(i), first:byte(i)
    if h ~= f then
      below = h < f
      break
    end
  end
end
if not below then
  return have
end
redis.call('SET', KEYS[1], ARGV[2])
return false
