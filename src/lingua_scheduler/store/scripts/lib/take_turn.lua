-- uses: visit, first_waiting, has_room_beyond, conclude
-- What comes before the choice among all nodes: the node that the job has a claim on, the jobs that stand before it.
-- Returns a reply, or nil where the job may choose.
local function take_turn(ask, affinity, affinity_wait_ms)
  local known, queue = ask.known, ask.v1 .. 'queue:' .. ask.lane
  local affinity_until = tonumber(known.affinity_until_ms or ask.now + math.min(affinity_wait_ms, ask.wait_ms))
  for _, host in ipairs({ known.guest_of or affinity, affinity }) do
    local reply = host ~= '' and visit(ask, host, affinity, affinity_until)
    if reply then return reply end
  end
  if known.line == ask.lane .. '!' then return nil end
  first_waiting(ask.v1, ask.lane, 1, nil, ask.now)
  local ahead = known.line == ask.lane and redis.call('ZRANK', queue, ask.job) or redis.call('ZCARD', queue)
  if ahead > 0 and not has_room_beyond(ask, ahead) then
    ask.counts.kept = 1
    return conclude(ask, false)
  end
  return nil
end
