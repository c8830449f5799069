-- uses: class_of, place
-- Puts a node right in the lanes that had set it aside (it has a free slot again, another status …). Returns how many
-- slots are free, 0 where it may get no jobs, and those of the lanes that have jobs waiting.
local function settle(v1, node)
  local key, waiting = v1 .. 'node:' .. node, {}
  local status, capacity, instance = unpack(redis.call('HMGET', key, 'status', 'capacity', 'instance'))
  if not status then return 0, waiting end
  local free = tonumber(capacity) - redis.call('ZCARD', key .. ':jobs')
  local class = class_of(status, free <= 0)
  for _, lane in ipairs(redis.call('SMEMBERS', key .. ':watched')) do
    place(v1, lane, instance, node, class)
    if redis.call('EXISTS', v1 .. 'queue:' .. lane, v1 .. 'queue:' .. lane .. '!') > 0 then
      waiting[#waiting + 1] = lane
    elseif class == 0 then
      redis.call('SREM', key .. ':watched', lane)
    end
  end
  return class <= 1 and free or 0, waiting
end
