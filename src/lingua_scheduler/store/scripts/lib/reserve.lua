-- uses: write_job
-- Gives the job a slot on a node: the slot, its lease, the job, where asked the session's affinity. Returns the reply.
local JOB_NODE_TTL_MS, SESSION_TTL_MS = '3600000', '300000'

local function reserve(ask, chosen, why, found)
  local v1, job, node = ask.v1, ask.job, chosen.node
  local now, deadline = string.format('%.0f', ask.now), string.format('%.0f', ask.now + ask.lease_ms)
  local load = chosen.load
  local told, others, drawn = why .. ' ' .. node .. '=' .. load, nil, { node, load }
  for at = 1, #found do
    local one = found[at]
    if one ~= chosen then
      others = (others and others .. ' ' or '') .. one.node .. '=' .. one.load
      drawn[#drawn + 1] = one.node
      drawn[#drawn + 1] = one.load
    end
  end
  if ask.known.line or ask.known.guest_of then ask.later().be_served(ask) end
  redis.call('ZADD', v1 .. 'node:' .. node .. ':jobs', deadline, job)
  redis.call('ZADD', v1 .. 'deadlines', deadline, 'job:' .. job)
  local chose = 'choice:' .. ask.attempt_text
  if others then
    write_job(ask, 'status', 'assigned', 'node', node, 'assigned_ms', now, chose, told,
      'others:' .. ask.attempt_text, others)
  else
    write_job(ask, 'status', 'assigned', 'node', node, 'assigned_ms', now, chose, told)
  end
  redis.call('SET', v1 .. 'job:' .. job .. ':node', node, 'PX', JOB_NODE_TTL_MS)
  if ask.bind ~= '' then
    local session = ask.session_area .. 'session:' .. ask.session
    redis.call('HSET', session, ask.bind .. '_node_id', node)
    redis.call('PEXPIRE', session, SESSION_TTL_MS)
  end
  return { 'SELECTED', node, chosen.instance, ask.attempt, why, drawn }
end
