-- reap: one bounded round of clearing up: leases that nobody requeued, jobs in line that nobody asks for, dead nodes.
-- KEYS: v1 session_area presence_area
-- ARGV: stated most
-- Reply: OK {job attempt session owner node …} {node …} {job owner …} more
-- Writes what it clears. Repeated: goes on with what is due then.
-- uses: clock, is_final, job_facts, remove_node, revoke, stop_waiting, offer_slots
-- A lease is its owner's to requeue for 5 s, and for 30 s while the owner's presence shows that it lives.
local v1, presence_area = KEYS[1], KEYS[3]
local stated, most = unpack(ARGV)
local GRACE_MS, OWNER_MS, NODE_TTL_MS = 5000, 30000, 45000

local now, jobs, nodes, offers, opened = clock(stated), {}, {}, {}, {}

local function reap_node(entry, node)
  local seen = redis.call('HGET', v1 .. 'node:' .. node, 'last_heartbeat_ts')
  if seen then
    redis.call('ZADD', v1 .. 'deadlines', seen + NODE_TTL_MS, entry)
    return
  end
  for _, fact in ipairs(remove_node(v1, node)) do jobs[#jobs + 1] = fact end
  nodes[#nodes + 1] = node
end

local function open(node)
  if not opened[node] then opened[#opened + 1] = node end
  opened[node] = true
end

local function reap_job(entry, job)
  local key = v1 .. 'job:' .. job
  local status, attempt, node, owner, line, guest_of = unpack(redis.call('HMGET', key, 'status', 'attempt', 'node',
    'owner', 'line', 'guest_of'))
  if not status or is_final(status) or status == 'pending' then
    redis.call('ZREM', v1 .. 'deadlines', entry)
    local freed = status == 'pending' and stop_waiting(v1, job, line, guest_of)
    if freed then open(freed) end
    return
  end
  local deadline = redis.call('ZSCORE', v1 .. 'node:' .. node .. ':jobs', job)
  if deadline and now - deadline < OWNER_MS and redis.call('EXISTS', presence_area .. owner) == 1 then
    redis.call('ZADD', v1 .. 'deadlines', now, entry)
  else
    job_facts(v1, job, node, jobs)
    revoke(v1, job, attempt, node, 'lease_expired')
    open(node)
  end
end

local due = redis.call('ZRANGEBYSCORE', v1 .. 'deadlines', '-inf', now - GRACE_MS, 'LIMIT', 0, most)
for _, entry in ipairs(due) do
  local kind, id = string.match(entry, '(%a+):(.+)')
  if kind == 'node' then reap_node(entry, id) else reap_job(entry, id) end
end
for _, node in ipairs(opened) do
  for _, word in ipairs(offer_slots(v1, node, now)) do offers[#offers + 1] = word end
end
return { 'OK', jobs, nodes, offers, #due == tonumber(most) and 1 or 0 }
