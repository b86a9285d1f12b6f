-- Prolongs the lease while it is still ours. KEYS: lease. ARGV: '<id> <term>', lease in ms.
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[1] then
  return {'fenced', held or ''}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'renewed'}
