-- write_session: sets and removes fields of a session, fenced by its owner's epoch.
-- KEYS: v1 session_area presence_area
-- ARGV: stated session epoch removed_count ...
-- Reply: OK epoch | STALE_EPOCH epoch
-- Writes nothing unless OK. Repeated: the same.
-- After `removed_count` names of fields to remove come names and values of fields to set.
local session_area = KEYS[2]
local _, session, epoch, removed_count = unpack(ARGV, 1, 4)
local SESSION_TTL_MS, FIRST = 300000, 5

local key = session_area .. 'session:' .. session
local current = redis.call('HGET', key, 'epoch')
if current and tonumber(current) > tonumber(epoch) then return { 'STALE_EPOCH', tonumber(current) } end
local first_kept = FIRST + removed_count
redis.call('HSET', key, 'epoch', epoch, unpack(ARGV, first_kept))
if first_kept > FIRST then redis.call('HDEL', key, unpack(ARGV, FIRST, first_kept - 1)) end
redis.call('PEXPIRE', key, SESSION_TTL_MS)
return { 'OK', tonumber(epoch) }
