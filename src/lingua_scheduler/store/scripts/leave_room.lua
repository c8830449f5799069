-- leave_room: takes a member out of a room, with what it said of others and they of it.
-- KEYS: v1 session_area presence_area
-- ARGV: stated room session instance
-- Reply: OK now {field value …} | NOT_A_MEMBER
-- Writes nothing unless OK. Repeated: NOT_A_MEMBER.
-- uses: clock, room_of
-- With an instance the member leaves only if that is where it lives: it may have resumed elsewhere. A room without
-- members keeps its code until it expires.
local v1 = KEYS[1]
local stated, room, session, instance = unpack(ARGV)

local key = v1 .. 'room:' .. room
local member = redis.call('HGET', key, 'member:' .. session)
if not member or instance ~= '' and string.match(member, '^[^|]*') ~= instance then return { 'NOT_A_MEMBER' } end
if room_of(v1, session) == room then redis.call('DEL', v1 .. 'room_of:' .. session) end
redis.call('HDEL', key, 'member:' .. session)
for _, field in ipairs(redis.call('HKEYS', key)) do
  local listener, speaker = string.match(field, '^voice:([^:]*):(.*)$')
  if listener == session or speaker == session then redis.call('HDEL', key, field) end
end
redis.call('HINCRBY', key, 'version', 1)
return { 'OK', clock(stated), redis.call('HGETALL', key) }
