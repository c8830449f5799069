-- uses: write_job
-- Puts the job into a line by start-time fair queueing over tenants (Goyal, Vin, Cheng 1996, with jobs of equal size):
-- a tenant's next turn is one after its last, and not before the turn that is being served; a further attempt goes to
-- the head. A job that stood in this line keeps its place. Returns the reply, or nil where the line is too long.
local LINE_MAX, LINE_TTL_MS, ARRIVALS, RETRY_MS, FIRST_GAP_MS = 10000, 3600000, 2097152, 1000, 1000

local function next_turn(ask, queue)
  local turns, tenant = queue .. ':turns', 'tenant:' .. ask.tenant
  local virtual, arrivals, gap, last = unpack(redis.call('HMGET', turns, 'virtual', 'arrivals', 'gap_ms', tenant))
  virtual, arrivals = tonumber(virtual or 0), (tonumber(arrivals or 0) + 1) % ARRIVALS
  if redis.call('EXISTS', queue) == 0 then  -- nobody waits: what tenants were served before counts no more
    redis.call('DEL', turns)
    last = 0
  end
  local turn = math.max(virtual, tonumber(last or 0)) + 1
  redis.call('HSET', turns, 'virtual', virtual, 'arrivals', arrivals, 'gap_ms', gap or FIRST_GAP_MS, tenant, turn)
  redis.call('PEXPIRE', turns, LINE_TTL_MS)
  return ask.attempt > 1 and virtual * ARRIVALS or turn * ARRIVALS + arrivals
end

local function stand_in_line(ask, line)
  local queue, known = ask.v1 .. 'queue:' .. line, ask.known
  if known.line ~= line and redis.call('ZCARD', queue) >= LINE_MAX then return nil end
  if known.line and known.line ~= line then redis.call('ZREM', ask.v1 .. 'queue:' .. known.line, ask.job) end
  local turn = known.line == line and tonumber(known.turn) or next_turn(ask, queue)
  redis.call('ZADD', queue, turn, ask.job)
  redis.call('PEXPIRE', queue, LINE_TTL_MS)
  redis.call('ZADD', ask.v1 .. 'deadlines', ask.now + ask.wait_ms, 'job:' .. ask.job)
  write_job(ask, 'status', 'pending', 'line', line, 'turn', turn, 'queued_ms', known.queued_ms or ask.now,
    'wait_until_ms', ask.now + ask.wait_ms, 'exclude', ask.exclude, 'services', ask.services)
  local position = redis.call('ZRANK', queue, ask.job) + 1
  local gap = redis.call('HGET', queue .. ':turns', 'gap_ms') or FIRST_GAP_MS
  return { 'QUEUED', position, math.min(position * gap, ask.wait_ms), math.min(RETRY_MS, ask.wait_ms) }
end
