-- uses: leave_pair, job_facts
-- Takes a node and all its keys away; returns the facts of the jobs that it had. Their deadlines stay: until its owner
-- has requeued such a job, the reaper must find it.
local function remove_node(v1, node)
  local key = v1 .. 'node:' .. node
  local facts = {}
  for _, job in ipairs(redis.call('ZRANGE', key .. ':jobs', 0, -1)) do job_facts(v1, job, node, facts) end
  for _, pair in ipairs(redis.call('HKEYS', key .. ':pools')) do leave_pair(v1, node, pair) end
  redis.call('DEL', key, key .. ':pools', key .. ':jobs', key .. ':watched', key .. ':guests', key .. ':home')
  redis.call('SREM', v1 .. 'nodes:all', node)
  redis.call('ZREM', v1 .. 'deadlines', 'node:' .. node)
  return facts
end
