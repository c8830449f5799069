-- uses: class_of
-- What a job could do with a node. Returns a kind, the node's class, its load in thousandths (reserved slots count
-- 7/10, what it reports 3/10), its instance and its free slots. Kinds: free · kept (for jobs that wait) · excluded ·
-- unsupported · unavailable · full · degraded (and full) · suspect · draining · dead.
local CLASS_KIND = { [2] = 'full', [3] = 'degraded', [4] = 'suspect', [5] = 'draining' }

local function look(ask, node)
  local key = ask.v1 .. 'node:' .. node
  local seen = redis.call('HMGET', key, unpack(ask.fields))
  if not seen[1] then return 'dead' end
  local taken, capacity = redis.call('ZCARD', key .. ':jobs'), tonumber(seen[2])
  local class = class_of(seen[1], taken >= capacity)
  local free = capacity - taken
  if class > 1 then return CLASS_KIND[class], class, 0, seen[4], free end
  if string.find(ask.exclude, ',' .. node .. ',', 1, true) then return 'excluded', class end
  for at = 6, #ask.fields do
    if not seen[at] then return 'unsupported', class end
    if tonumber(seen[at]) > ask.now then return 'unavailable', class end
  end
  for _, pair in ipairs(ask.other_pairs) do
    if redis.call('HEXISTS', key .. ':pools', pair) == 0 then return 'unsupported', class end
  end
  local load = math.floor(taken * 700 / capacity) + math.floor(seen[3] * 3 / 10)
  if tonumber(seen[5] or 0) > ask.now then
    local kept = redis.call('ZCOUNT', key .. ':guests', '(' .. ask.now, '+inf')
    if free <= kept then return 'kept', class, load, seen[4], free end
  end
  return 'free', class, load, seen[4], free
end
