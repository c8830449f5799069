-- What the owners of a node's jobs need to know of them. Appends job, attempt, session, owner, node to `facts`.
local function job_facts(v1, job, node, facts)
  local attempt, session, owner = unpack(redis.call('HMGET', v1 .. 'job:' .. job, 'attempt', 'session', 'owner'))
  for _, fact in ipairs({ job, attempt or '0', session or '', owner or '', node }) do facts[#facts + 1] = fact end
end
