-- Gives the lease back when it is still ours. KEYS: lease. ARGV: '<id> <term>'.
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[1] then
  return {'fenced', held or ''}
end
redis.call('DEL', KEYS[1])
return {'released'}
