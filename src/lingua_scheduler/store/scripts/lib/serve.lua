-- Takes a job out of its line because it gets a slot: its turn is what the line has reached (start-time fair queueing),
-- and the time since the last one tells the waiting how fast the line moves.
local function serve(v1, line, job, now)
  local queue = v1 .. 'queue:' .. line
  local turn = redis.call('ZSCORE', queue, job)
  if not turn then return end
  redis.call('ZREM', queue, job)
  local turns = queue .. ':turns'
  local virtual, gap, served = unpack(redis.call('HMGET', turns, 'virtual', 'gap_ms', 'served_at_ms'))
  virtual = math.max(tonumber(virtual or 0), math.floor(turn / 2097152))
  if served then gap = math.floor((3 * (gap or 1000) + now - served) / 4) end
  redis.call('HSET', turns, 'virtual', virtual, 'gap_ms', gap or 1000, 'served_at_ms', now)
end
