-- Puts what a job came to into its session's outbox, numbered in the order of finishing, if the session can be resumed.
local function keep_result(session_area, session, job, result)
  local key = session_area .. 'session:' .. session
  local ttl_ms = redis.call('HGET', key, 'ttl_ms')
  if result == '' or not ttl_ms then return end
  local number = redis.call('HINCRBY', key, 'finished', 1)
  redis.call('HSET', key .. ':outbox', job, number .. ':' .. result)
  redis.call('PEXPIRE', key .. ':outbox', ttl_ms)
end
