-- claim_session: makes an instance the owner of a session for a client that shows its resume token, and hands it all.
-- KEYS: v1 session_area presence_area
-- ARGV: stated session instance shown fresh
-- Reply: OK epoch owner {name value …} {job result …} | REFUSED | UNKNOWN_SESSION
-- Writes nothing unless OK. Repeated: the same again.
-- uses: clock
-- Tokens are hashes. `used` is the one that the last claim showed: its answer may have been lost with the connection,
-- so it serves until the owner says that the client has its next one. Another owner than before gets a higher epoch.
local session_area = KEYS[2]
local stated, session, instance, shown, fresh = unpack(ARGV)

local key = session_area .. 'session:' .. session
local token, used, owner, epoch, ttl_ms = unpack(redis.call('HMGET', key, 'token', 'used', 'owner', 'epoch',
  'ttl_ms'))
if not token then return { 'UNKNOWN_SESSION' } end
if shown ~= token and shown ~= used then return { 'REFUSED' } end
local claimed = owner == instance and epoch or string.format('%.0f', math.max(clock(stated), epoch + 1))
redis.call('HSET', key, 'token', fresh, 'used', shown, 'owner', instance, 'epoch', claimed)
redis.call('PEXPIRE', key, ttl_ms)
redis.call('PEXPIRE', key .. ':outbox', ttl_ms)
return { 'OK', tonumber(claimed), owner, redis.call('HGETALL', key), redis.call('HGETALL', key .. ':outbox') }
