-- Gives a job's slot back, if it still has it, and forgets its deadline.
local function give_back(v1, job, node)
  redis.call('ZREM', v1 .. 'node:' .. node .. ':jobs', job)
  redis.call('ZREM', v1 .. 'deadlines', 'job:' .. job)
end
