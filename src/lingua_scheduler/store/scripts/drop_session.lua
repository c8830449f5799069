-- drop_session: a session is over: nothing of it stays.
-- KEYS: v1 session_area presence_area
-- ARGV: stated session epoch
-- Reply: OK epoch | STALE_EPOCH epoch
-- Writes nothing unless OK. Repeated: the same.
-- uses: newer_owner
local session_area = KEYS[2]
local _, session, epoch = unpack(ARGV)

local newer = newer_owner(session_area, session, epoch)
if newer then return { 'STALE_EPOCH', newer } end
local key = session_area .. 'session:' .. session
redis.call('DEL', key, key .. ':outbox')
return { 'OK', tonumber(epoch) }
