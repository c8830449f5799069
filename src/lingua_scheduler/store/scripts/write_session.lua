-- write_session: keeps a session for its owner: sets fields, forgets results that the client has, renews what expires.
-- KEYS: v1 session_area presence_area
-- ARGV: stated session instance epoch ttl_ms fields forgotten ...
-- Reply: OK epoch is_whole | STALE_EPOCH epoch
-- Writes nothing unless OK. Repeated: the same.
-- Names and values of `fields` fields come last, then `forgotten` ids of jobs whose results go, then job ids and
-- results to keep. Not whole: Redis has lost the session, or never had it, and must be told all of it.
-- uses: newer_owner, keep_result
local session_area = KEYS[2]
local _, session, instance, epoch, ttl_ms, fields, forgotten = unpack(ARGV, 1, 7)

local newer = newer_owner(session_area, session, epoch)
if newer then return { 'STALE_EPOCH', newer } end
local key = session_area .. 'session:' .. session
local at = 8 + 2 * fields
redis.call('HSET', key, 'epoch', epoch, 'owner', instance, 'ttl_ms', ttl_ms, unpack(ARGV, 8, at - 1))
if tonumber(forgotten) > 0 then redis.call('HDEL', key .. ':outbox', unpack(ARGV, at, at + forgotten - 1)) end
for kept = at + forgotten, #ARGV, 2 do keep_result(session_area, session, ARGV[kept], ARGV[kept + 1]) end
redis.call('PEXPIRE', key, ttl_ms)
redis.call('PEXPIRE', key .. ':outbox', ttl_ms)
return { 'OK', tonumber(epoch), redis.call('HEXISTS', key, 'opening') }
