-- look_room: shows a room, or ends it where nobody has spoken in it for long.
-- KEYS: v1 session_area presence_area
-- ARGV: stated room expiry_ms
-- Reply: OK now {field value …} | EXPIRED now {field value …} | ROOM_NOT_FOUND
-- Writes nothing unless EXPIRED, which removes all of it. Repeated: ROOM_NOT_FOUND after EXPIRED.
-- uses: clock, room_of, sessions_in
local v1 = KEYS[1]
local stated, room, expiry_ms = unpack(ARGV)

local key, now = v1 .. 'room:' .. room, clock(stated)
local code, spoken = unpack(redis.call('HMGET', key, 'code', 'spoken_ms'))
if not code then return { 'ROOM_NOT_FOUND' } end
local fields = redis.call('HGETALL', key)
if now - tonumber(spoken) < tonumber(expiry_ms) then return { 'OK', now, fields } end
for _, session in ipairs(sessions_in(redis.call('HKEYS', key))) do
  if room_of(v1, session) == room then redis.call('DEL', v1 .. 'room_of:' .. session) end
end
if redis.call('GET', v1 .. 'room_code:' .. code) == room then redis.call('DEL', v1 .. 'room_code:' .. code) end
redis.call('DEL', key, key .. ':lines')
return { 'EXPIRED', now, fields }
