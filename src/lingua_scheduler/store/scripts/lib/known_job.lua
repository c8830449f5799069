-- uses: is_final, revoke, settle
-- What is stored of the job that is asked for, and the reply where the question is answered by that alone. A newer
-- attempt takes the slot of the older one back: the owner need not requeue first. One whose slot was lost with its node
-- before the owner heard of it is placed anew.
local FIELDS = { 'status', 'attempt', 'revoked', 'node', 'line', 'turn', 'guest_of', 'affinity_until_ms', 'queued_ms' }

local function known_job(v1, job, attempt)
  local known = {}
  for at, value in ipairs(redis.call('HMGET', v1 .. 'job:' .. job, unpack(FIELDS))) do known[FIELDS[at]] = value end
  if not known.status then return {} end
  if is_final(known.status) then return known, { 'DONE', job, known.status } end
  local current = tonumber(known.attempt)
  if attempt < current or attempt <= tonumber(known.revoked or 0) then return known, { 'STALE_ATTEMPT', current } end
  if known.status ~= 'pending' then
    if attempt == current and not redis.call('ZSCORE', v1 .. 'node:' .. known.node .. ':jobs', job) then
      return known
    elseif attempt == current then
      local instance = redis.call('HGET', v1 .. 'node:' .. known.node, 'instance') or ''
      return known, { 'SELECTED', known.node, instance, current, 'repeat', {} }
    end
    revoke(v1, job, known.attempt, known.node, 'superseded')
    settle(v1, known.node)
  end
  return known
end
