-- note_speech: a member spoke: the room lives for another while; a line that was concluded is kept for late joiners.
-- KEYS: v1 session_area presence_area
-- ARGV: stated room ttl_ms line lines_max
-- Reply: OK version | ROOM_NOT_FOUND
-- Writes nothing unless OK. Repeated: the line is kept twice, which readers see by its utterance.
-- uses: clock, sessions_in
-- An empty `line` is speech without one. Of more than `lines_max` lines the oldest go.
local v1 = KEYS[1]
local stated, room, ttl_ms, line, lines_max = unpack(ARGV)

local key = v1 .. 'room:' .. room
local code, version = unpack(redis.call('HMGET', key, 'code', 'version'))
if not code then return { 'ROOM_NOT_FOUND' } end
redis.call('HSET', key, 'spoken_ms', clock(stated))
redis.call('PEXPIRE', key, ttl_ms)
redis.call('PEXPIRE', v1 .. 'room_code:' .. code, ttl_ms)
for _, session in ipairs(sessions_in(redis.call('HKEYS', key))) do
  redis.call('PEXPIRE', v1 .. 'room_of:' .. session, ttl_ms)
end
local lines = key .. ':lines'
if line ~= '' then
  local number = redis.call('HINCRBY', lines, 'count', 1)
  redis.call('HSET', lines, number, line)
  local old = number - lines_max
  while redis.call('HDEL', lines, old) == 1 do old = old - 1 end
end
redis.call('PEXPIRE', lines, ttl_ms)
return { 'OK', tonumber(version) }
