-- uses: write_brief
-- Keeps one of the node's next slots for a waiting job until `till`: nobody else is given it.
local function keep_slot(v1, node, job, till)
  local key = v1 .. 'node:' .. node
  redis.call('ZADD', key .. ':guests', till, job)
  redis.call('PEXPIRE', key .. ':guests', 60000)
  if tonumber(redis.call('HGET', key, 'guests_until') or 0) < till then
    redis.call('HSET', key, 'guests_until', till)
    write_brief(key)
  end
  redis.call('HSET', v1 .. 'job:' .. job, 'guest_of', node)
end
