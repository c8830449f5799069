-- What selection must know of a node, in one field, so that it reads one: status, capacity, reported load, instance,
-- until when caution is due (slots kept, services marked unavailable), services, before them the tenants that it serves
-- where it serves not all (`!acme,!other,`). To be written after any of them.
local function write_brief(key)
  local status, capacity, load, instance, guests_until, blocked_until, services, private = unpack(redis.call('HMGET',
    key, 'status', 'capacity', 'load', 'instance', 'guests_until', 'blocked_until', 'services', 'private'))
  local caution_until = math.max(tonumber(guests_until or 0), tonumber(blocked_until or 0))
  redis.call('HSET', key, 'brief', string.format('%s %s %s %s %.0f ,%s%s,', status, capacity, load, instance,
    caution_until, private or '', services))
end
