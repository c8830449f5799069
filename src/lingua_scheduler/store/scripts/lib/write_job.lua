-- Writes what every placement or wait of a job writes, and the fields given beside.
local JOB_TTL_MS, JOB_KEY_TTL_MS = '3600000', '300000'

local function write_job(ask, ...)
  local key = ask.v1 .. 'job:' .. ask.job
  redis.call('HSET', key, 'attempt', ask.attempt_text, 'owner', ask.owner, 'session', ask.session, 'tenant', ask.tenant,
    'index', ask.index, 'pairs', ask.pairs, 'trace', ask.trace, ...)
  redis.call('PEXPIRE', key, JOB_TTL_MS)
  if not ask.has_key then redis.call('SET', ask.key_name, ask.job, 'PX', JOB_KEY_TTL_MS) end
end
