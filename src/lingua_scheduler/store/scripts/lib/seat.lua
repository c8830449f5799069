-- Writes a member into a room. `member` is `instance|facts`: scripts read the instance alone.
local function seat(v1, room, session, member, ttl_ms)
  local key = v1 .. 'room:' .. room
  redis.call('HSET', key, 'member:' .. session, member)
  redis.call('HINCRBY', key, 'version', 1)
  redis.call('SET', v1 .. 'room_of:' .. session, room, 'PX', ttl_ms)
end
