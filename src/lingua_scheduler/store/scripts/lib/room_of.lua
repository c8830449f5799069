-- The room that a session is a member of, or nil.
local function room_of(v1, session)
  local room = redis.call('GET', v1 .. 'room_of:' .. session)
  if room and redis.call('HEXISTS', v1 .. 'room:' .. room, 'member:' .. session) == 1 then return room end
end
