-- Takes a job out of the line and from the node that it waits for. Returns that node, whose slot may go to another.
local function stop_waiting(v1, job, line, guest_of)
  if line then
    redis.call('ZREM', v1 .. 'queue:' .. line, job)
    redis.call('ZREM', v1 .. 'deadlines', 'job:' .. job)
  end
  if guest_of then redis.call('ZREM', v1 .. 'node:' .. guest_of .. ':guests', job) end
  if line or guest_of then redis.call('HDEL', v1 .. 'job:' .. job, 'line', 'turn', 'guest_of', 'affinity_until_ms') end
  return guest_of
end
