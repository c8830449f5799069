-- uses: is_final
-- A node that registers works on an attempt, it is said: its slot is taken, unless the job is known to stand otherwise.
-- A job that Redis has lost is written anew, without an owner: its end frees the slot, or the reaper does.
local JOB_TTL_MS, LEASE_MS = 3600000, 60000

local function restore_slot(v1, node, job, attempt, now)
  local slots, key = v1 .. 'node:' .. node .. ':jobs', v1 .. 'job:' .. job
  if redis.call('ZSCORE', slots, job) then return end
  local status, current, holder = unpack(redis.call('HMGET', key, 'status', 'attempt', 'node'))
  if not status then
    redis.call('HSET', key, 'status', 'assigned', 'attempt', attempt, 'node', node, 'owner', '', 'assigned_ms', now)
    redis.call('PEXPIRE', key, JOB_TTL_MS)
    redis.call('SET', key .. ':node', node, 'PX', JOB_TTL_MS)
  elseif is_final(status) or status == 'pending' or current ~= attempt or holder ~= node then
    return
  end
  redis.call('ZADD', slots, now + LEASE_MS, job)
  redis.call('ZADD', v1 .. 'deadlines', now + LEASE_MS, 'job:' .. job)
end
