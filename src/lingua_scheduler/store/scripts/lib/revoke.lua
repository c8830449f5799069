-- uses: give_back
-- Takes an attempt back: whatever its node still says counts no more, and the job is open for its next attempt.
local function revoke(v1, job, attempt, node, cause)
  local key = v1 .. 'job:' .. job
  if node then give_back(v1, job, node) end
  redis.call('HSET', key, 'status', 'pending', 'revoked', attempt, 'cause:' .. attempt, cause)
  redis.call('HDEL', key, 'node')
  redis.call('DEL', key .. ':node')
end
