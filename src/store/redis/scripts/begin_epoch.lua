-- Empties the log and begins a new numbering, in place of the epoch the caller knows.
-- KEYS: lease, log, series. ARGV: '<id> <term>', id, term, old epoch ('' when there is none), new epoch.
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[1] then
  return {'fenced', held or ''}
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local tail = {'', '', ''}
if last then
  local fields = {}
  for i = 1, #last[2], 2 do
    fields[last[2][i]] = last[2][i + 1]
  end
  tail = {last[1], fields['epoch'] or '', fields['term'] or ''}
end
if tail[2] ~= ARGV[4] then
  if not last then
    return {'missing'}
  end
  return {'other_epoch', tail[1], tail[2], tail[3]}
end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('XADD', KEYS[2], '0-1', 'epoch', ARGV[5], 'term', ARGV[3], 'engine', ARGV[2])
return {'begun'}
