-- uses: visit, first_waiting, has_room_beyond, stand_in_line, stop_waiting
-- What comes before the choice among all nodes: the node that the job has a claim on, the jobs that stand before it.
-- Returns a reply, or nil where the job may choose.
local PATIENCE_MAX_MS = 30000  -- shorter than guests are remembered

local function take_turn(ask, affinity, affinity_wait_ms)
  local known, queue = ask.known, ask.v1 .. 'queue:' .. ask.lane
  local patience = math.min(affinity_wait_ms, ask.wait_ms, PATIENCE_MAX_MS)
  local affinity_until = tonumber(known.affinity_until_ms or ask.now + patience)
  for _, host in ipairs({ known.guest_of ~= affinity and known.guest_of or '', affinity }) do
    local reply = host ~= '' and visit(ask, host, affinity, affinity_until)
    if reply then return reply end
  end
  if known.line == ask.lane .. '!' then return nil end
  first_waiting(ask.v1, ask.lane, 1, nil, ask.now)
  local ahead = known.line == ask.lane and redis.call('ZRANK', queue, ask.job) or redis.call('ZCARD', queue)
  if ahead == 0 or has_room_beyond(ask, ahead) then return nil end
  local reply = ask.wait_ms > 0 and stand_in_line(ask, ask.lane)
  if reply then return reply end
  stop_waiting(ask.v1, ask.job, known.line, known.guest_of)
  return { 'NO_NODE', 'all_full', { 'waiting', ahead } }
end
