-- uses: look, keep_slot, write_job, reserve
-- The one node that the job may have a claim on: where its session's audio is kept, or where a slot is kept for it.
-- Returns a reply, or nil where the job must look elsewhere.
local function visit(ask, host, affinity, affinity_until)
  local guests, known = ask.v1 .. 'node:' .. host .. ':guests', ask.known
  local kind, load, instance, free = 'unsupported', nil, nil, nil
  if redis.call('ZSCORE', ask.lane_key, host) then
    local _
    kind, _, load, instance, free = look(ask, host)
  end
  local till = known.guest_of == host and tonumber(redis.call('ZSCORE', guests, ask.job) or 0) or 0
  local is_free = kind == 'free'
  if kind == 'kept' and till > ask.now then
    is_free = free > redis.call('ZCOUNT', guests, '(' .. ask.now, '(' .. till)
  end
  if is_free and (host == affinity or till > ask.now) then
    local chosen = { node = host, load = load, instance = instance }
    return reserve(ask, chosen, host == affinity and 'affinity' or 'offered', { chosen })
  end
  local may_wait = kind == 'full' or kind == 'kept' or kind == 'degraded'
  if host == affinity and may_wait and affinity_until > ask.now then
    keep_slot(ask.v1, host, ask.job, affinity_until)
    write_job(ask, 'status', 'pending', 'queued_ms', known.queued_ms or ask.now, 'affinity_until_ms', affinity_until)
    local left = affinity_until - ask.now
    local before = redis.call('ZCOUNT', guests, '(' .. ask.now, '(' .. affinity_until)
    return { 'QUEUED', before + 1, left, left }
  end
  if known.guest_of == host then
    redis.call('ZREM', guests, ask.job)
    redis.call('HDEL', ask.v1 .. 'job:' .. ask.job, 'guest_of')
    known.guest_of = nil
  end
  return nil
end
