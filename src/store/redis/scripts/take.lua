-- Takes the lease when nobody else holds it.
-- KEYS: lease, counter of terms, log. ARGV: engine id, highest term it has seen, lease in ms.
-- A lease under our own name is one whose take or renewal got no answer: it is taken anew, under a new term.
local held = redis.call('GET', KEYS[1])
if held and string.sub(held, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then
  return {'held', held, tostring(redis.call('PTTL', KEYS[1]))}
end
local term = math.max(tonumber(redis.call('GET', KEYS[2]) or '0') or 0, tonumber(ARGV[2]))
local answer = {'taken', ''}
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)[1]
if last then
  local fields = {}
  for i = 1, #last[2], 2 do
    fields[last[2][i]] = last[2][i + 1]
  end
  term = math.max(term, tonumber(fields['term']) or 0)
  answer[3], answer[4], answer[5] = last[1], fields['epoch'] or '', fields['term'] or ''
end
answer[2] = string.format('%.0f', term + 1)
redis.call('SET', KEYS[2], answer[2])
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. answer[2], 'PX', ARGV[3])
return answer
