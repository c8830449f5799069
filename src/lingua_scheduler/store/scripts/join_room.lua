-- join_room: makes a session a member of the room with a code; who guesses codes is stopped.
-- KEYS: v1 session_area presence_area
-- ARGV: stated code session member members_max ttl_ms address session_guesses_max address_guesses_max window_ms
-- Reply: OK now {field value …} room | ALREADY_IN_ROOM | ROOM_NOT_FOUND | ROOM_FULL | RATE_LIMITED
-- Writes the member with OK; ROOM_NOT_FOUND counts a guess; the others change nothing. Repeated: OK, changing nothing.
-- uses: clock, room_of, seat, sessions_in
local v1 = KEYS[1]
local stated, code, session, member, members_max, ttl_ms, address, session_guesses_max, address_guesses_max,
  window_ms = unpack(ARGV)

local function count_guess(who)
  local key = v1 .. 'room_guesses:' .. who
  if redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, window_ms) end
end

local function has_guessed(who, most)
  return tonumber(redis.call('GET', v1 .. 'room_guesses:' .. who) or 0) >= tonumber(most)
end

if has_guessed(session, session_guesses_max) or has_guessed(address, address_guesses_max) then
  return { 'RATE_LIMITED' }
end
local now, room, current = clock(stated), redis.call('GET', v1 .. 'room_code:' .. code), room_of(v1, session)
local key = v1 .. 'room:' .. (room or '')
if current then
  local is_same = current == room and redis.call('HGET', key, 'member:' .. session) == member
  if not is_same then return { 'ALREADY_IN_ROOM' } end
  return { 'OK', now, redis.call('HGETALL', key), room }
end
if not room or redis.call('EXISTS', key) == 0 then
  count_guess(session)
  count_guess(address)
  return { 'ROOM_NOT_FOUND' }
end
if #sessions_in(redis.call('HKEYS', key)) >= tonumber(members_max) then return { 'ROOM_FULL' } end
seat(v1, room, session, member, ttl_ms)
return { 'OK', now, redis.call('HGETALL', key), room }
