-- create_room: makes a room under the first of some codes that is free, with its first member.
-- KEYS: v1 session_area presence_area
-- ARGV: stated room session member ttl_ms codes
-- Reply: OK now {field value …} | ALREADY_IN_ROOM | NO_CODE
-- Writes nothing unless OK. Repeated: OK, the same room.
-- uses: clock, room_of, seat
local v1 = KEYS[1]
local stated, room, session, member, ttl_ms, codes = unpack(ARGV)

local key, now, current = v1 .. 'room:' .. room, clock(stated), room_of(v1, session)
if current and current ~= room then return { 'ALREADY_IN_ROOM' } end
if current then return { 'OK', now, redis.call('HGETALL', key) } end
for code in string.gmatch(codes, '[^,]+') do
  if redis.call('SET', v1 .. 'room_code:' .. code, room, 'NX', 'PX', ttl_ms) then
    redis.call('HSET', key, 'code', code, 'spoken_ms', now)
    seat(v1, room, session, member, ttl_ms)
    redis.call('PEXPIRE', key, ttl_ms)
    return { 'OK', now, redis.call('HGETALL', key) }
  end
end
return { 'NO_CODE' }
