-- restore_room: writes a room that Redis has lost, as an instance with a member of it last saw it.
-- KEYS: v1 session_area presence_area
-- ARGV: stated room code ttl_ms ...
-- Reply: OK now {field value …} | NO_CODE
-- Writes nothing where the room is there (OK) or its code stands for another (NO_CODE). Repeated: OK.
-- uses: clock, sessions_in
-- After ttl_ms come names and values of the room's fields.
local v1 = KEYS[1]
local stated, room, code, ttl_ms = unpack(ARGV, 1, 4)
local FIRST = 5

local key, now = v1 .. 'room:' .. room, clock(stated)
if redis.call('EXISTS', key) == 1 then return { 'OK', now, redis.call('HGETALL', key) } end
if not redis.call('SET', v1 .. 'room_code:' .. code, room, 'NX', 'PX', ttl_ms) then return { 'NO_CODE' } end
redis.call('HSET', key, 'code', code, 'spoken_ms', now, unpack(ARGV, FIRST))
redis.call('PEXPIRE', key, ttl_ms)
for _, session in ipairs(sessions_in(redis.call('HKEYS', key))) do
  redis.call('SET', v1 .. 'room_of:' .. session, room, 'PX', ttl_ms)
end
return { 'OK', now, redis.call('HGETALL', key) }
