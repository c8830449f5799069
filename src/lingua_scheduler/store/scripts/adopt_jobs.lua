-- adopt_jobs: hands the open jobs of a session to its new owner, and tells where each stands.
-- KEYS: v1 session_area presence_area
-- ARGV: stated session epoch instance ...
-- Reply: OK {status attempt revoked node lease_ms instance protocol epoch …} | STALE_EPOCH epoch
-- Writes the owner of each job that is not final, nothing unless OK. Repeated: the same.
-- Job ids come last. A job that was never placed has an empty status.
-- uses: clock, newer_owner, is_final
local v1, session_area = KEYS[1], KEYS[2]
local stated, session, epoch, instance = unpack(ARGV, 1, 4)

local newer = newer_owner(session_area, session, epoch)
if newer then return { 'STALE_EPOCH', newer } end
local now, told = clock(stated), {}
for at = 5, #ARGV do
  local key = v1 .. 'job:' .. ARGV[at]
  local status, attempt, revoked, node = unpack(redis.call('HMGET', key, 'status', 'attempt', 'revoked', 'node'))
  local place, lease_ms = { false, false, false }, 0
  if status and not is_final(status) then
    redis.call('HSET', key, 'owner', instance)
    if node and status ~= 'pending' then
      place = redis.call('HMGET', v1 .. 'node:' .. node, 'instance', 'protocol', 'epoch')
      lease_ms = (redis.call('ZSCORE', v1 .. 'node:' .. node .. ':jobs', ARGV[at]) or now) - now
    end
  end
  for _, value in ipairs({ status or '', tonumber(attempt or 0), tonumber(revoked or 0), node or '',
    math.floor(lease_ms), place[1] or '', tonumber(place[2] or 0), tonumber(place[3] or 0) }) do
    told[#told + 1] = value
  end
end
return { 'OK', told }
