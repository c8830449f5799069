-- uses: class_of
-- What a job could do with a node. Returns a kind, the node's class, its load in thousandths (reserved slots count
-- 7/10, what it reports 3/10), its instance and its free slots. Kinds: free · kept (for jobs that wait) · excluded ·
-- unsupported · unavailable · full · degraded (and full) · suspect · draining · dead.
local CLASS_KIND = { [2] = 'full', [3] = 'degraded', [4] = 'suspect', [5] = 'draining' }

local function lacks_service(ask, key, offered)
  local is_private = string.find(offered, ',!', 1, true)
  if is_private and not string.find(offered, ',!' .. ask.tenant .. ',', 1, true) then return 'unsupported' end
  for service in string.gmatch(ask.services, '[^,]+') do
    if not string.find(offered, ',' .. service .. ',', 1, true) then return 'unsupported' end
    if tonumber(redis.call('HGET', key, 'service:' .. service)) > ask.now then return 'unavailable' end
  end
  return nil
end

local function lacks_pair(ask, key)
  for pair in string.gmatch(ask.other_pairs, '[^,]+') do
    if redis.call('HEXISTS', key .. ':pools', pair) == 0 then return true end
  end
  return false
end

local function look(ask, node)
  local key = ask.v1 .. 'node:' .. node
  local brief = redis.call('HGET', key, 'brief')
  if not brief then return 'dead' end
  local status, capacity, load, instance, caution_until, offered = string.match(brief,
    '(%S+) (%d+) (%d+) (%S+) (%d+) (%S+)')
  local taken = redis.call('ZCARD', key .. ':jobs')
  local free = capacity - taken
  local class = class_of(status, free <= 0)
  if class > 1 then return CLASS_KIND[class], class, 0, instance, free end
  if ask.exclude ~= '' and string.find(ask.exclude, ',' .. node .. ',', 1, true) then
    return 'excluded', class, 0, instance
  end
  local is_cautious = tonumber(caution_until) > ask.now
  if is_cautious or offered ~= ask.services then
    local lack = lacks_service(ask, key, offered)
    if lack then return lack, class, 0, instance end
  end
  if ask.other_pairs ~= '' and lacks_pair(ask, key) then
    return 'unsupported', class, 0, instance
  end
  load = math.floor(taken * 700 / capacity) + math.floor(load * 3 / 10)
  local kept = is_cautious and redis.call('ZCOUNT', key .. ':guests', '(' .. ask.now, '+inf') or 0
  if free <= kept then return 'kept', class, load, instance, free end
  return 'free', class, load, instance, free - kept
end
