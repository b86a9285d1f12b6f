-- Appends a burst of changes to the log and moves what was told of the series, all of it or nothing.
-- KEYS: lease, log, series. ARGV: '<id> <term>', id, term, epoch, kept, channel, then three counts and what they count:
-- changes (seq, identity, JSON), series to set (field, JSON), fields to delete.
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[1] then
  return {'fenced', held or ''}
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if not last then
  return {'missing'}
end
local fields = {}
for i = 1, #last[2], 2 do
  fields[last[2][i]] = last[2][i + 1]
end
local tail = {last[1], fields['epoch'] or '', fields['term'] or ''}
if tail[2] ~= ARGV[4] then
  return {'other_epoch', tail[1], tail[2], tail[3]}
end

local changes, sets, drops = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local seq = tonumber(string.match(tail[1], '^%d+'))
for i = 0, changes - 1 do
  if tonumber(ARGV[10 + i * 3]) ~= seq + i + 1 then
    return {'not_next', tail[1], tail[2], tail[3]}
  end
end
-- One call a change: unpack() of a whole burst would overflow Lua's stack.
for i = 0, changes - 1 do
  local at = 10 + i * 3
  tail = {ARGV[at] .. '-0', ARGV[4], ARGV[3]}
  redis.call('XADD', KEYS[2], 'NOMKSTREAM', 'MAXLEN', '~', ARGV[5], tail[1],
    'epoch', ARGV[4], 'term', ARGV[3], 'engine', ARGV[2], 'id', ARGV[at + 1], 'json', ARGV[at + 2])
end
local at = 10 + changes * 3
for i = 0, sets - 1 do
  redis.call('HSET', KEYS[3], ARGV[at + i * 2], ARGV[at + i * 2 + 1])
end
at = at + sets * 2
for i = 0, drops - 1 do
  redis.call('HDEL', KEYS[3], ARGV[at + i])
end
for i = 0, changes - 1 do
  redis.call('PUBLISH', ARGV[6], ARGV[12 + i * 3])
end
return {'appended', tail[1], tail[2], tail[3]}
