-- Raises KEYS[1] to ARGV[1], an integer of 0 or more in plain digits, unless it is greater.
-- Returns nil if it did, otherwise the value of the key. Compares digits, because Lua's numbers are
-- doubles, which are not exact above 2^53.
local have, want = redis.call('GET', KEYS[1]), ARGV[1]
local none = not have or have == '0' or (#have <= 20 and have:find('^%-[1-9]%d*$'))
if not none then
  if not have:find('^[1-9]%d*$') or #have > #want then
    return have
  end
  for i = 1, #have == #want and #want or 0 do
    local h, w = have:byte(i), want:byte(i)
    if h > w then
      return have
    elseif h < w then
      break
    end
  end
end
redis.call('SET', KEYS[1], want)
return false
