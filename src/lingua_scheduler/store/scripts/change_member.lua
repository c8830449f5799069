-- change_member: writes what a member of a room says of itself, or whose voice it accepts.
-- KEYS: v1 session_area presence_area
-- ARGV: stated room session member speaker accepts
-- Reply: OK now {field value …} | NOT_A_MEMBER
-- Writes nothing unless OK. Repeated: OK, with a higher version.
-- uses: clock
-- An empty `member` leaves it as it is, an empty `speaker` the voices. Who is no member has no voice to accept.
local v1 = KEYS[1]
local stated, room, session, member, speaker, accepts = unpack(ARGV)

local key = v1 .. 'room:' .. room
for _, one in ipairs({ session, speaker ~= '' and speaker or session }) do
  if redis.call('HEXISTS', key, 'member:' .. one) == 0 then return { 'NOT_A_MEMBER' } end
end
if member ~= '' then redis.call('HSET', key, 'member:' .. session, member) end
if speaker ~= '' then redis.call('HSET', key, 'voice:' .. session .. ':' .. speaker, accepts) end
redis.call('HINCRBY', key, 'version', 1)
return { 'OK', clock(stated), redis.call('HGETALL', key) }
